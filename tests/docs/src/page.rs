// SPDX-License-Identifier: GPL-2.0

//! What there is to check in a page.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::{collections::BTreeSet, path::PathBuf};

/// A block of code, fenced or indented.
pub struct Block {
    /// The line of its fence, or its first line.
    pub line: usize,
    /// The word after the fence.
    pub language: String,
    /// The comment right before it, without its signs.
    pub comment: Option<String>,
    pub text: String,
}

pub struct Link {
    pub line: usize,
    pub target: String,
}

/// Text in backticks.
pub struct Span {
    pub line: usize,
    pub text: String,
    /// What is between the span before it and this one, if both are in one paragraph or row.
    pub before: Option<String>,
}

pub struct Page {
    /// In the clone.
    pub path: PathBuf,
    pub blocks: Vec<Block>,
    /// Of images too.
    pub links: Vec<Link>,
    /// But for those in tables that a command makes, between `<!-- make ... -->` and `<!-- end -->`.
    pub spans: Vec<Span>,
    /// What a link can have after its `#`.
    pub anchors: BTreeSet<String>,
    /// Lines of prose that are longer than [`WIDTH`].
    pub too_long: Vec<usize>,
}

/// How long a line of prose may be. Tables, code, images and entries of a table of contents are
/// as long as they have to be.
pub const WIDTH: usize = 100;

impl Page {
    pub fn parse(path: PathBuf, text: &str) -> Self {
        let source = text;
        let mut page = Self {
            path,
            blocks: Vec::new(),
            links: Vec::new(),
            spans: Vec::new(),
            anchors: BTreeSet::new(),
            too_long: too_long(text),
        };
        let mut span_end = None;
        let mut comment = None;
        let mut heading = None;
        let mut in_block = false;
        let mut measured = false;

        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = 1 + text[..range.start].matches('\n').count();

            // A comment is about what follows it at once.
            if !matches!(
                event,
                Event::Html(_)
                    | Event::Start(Tag::HtmlBlock | Tag::CodeBlock(_))
                    | Event::End(TagEnd::HtmlBlock)
            ) {
                comment = None;
            }
            match event {
                Event::Html(html) => {
                    comment = html
                        .trim()
                        .strip_prefix("<!--")
                        .and_then(|rest| rest.strip_suffix("-->"))
                        .map(|inner| inner.trim().to_owned());
                    match comment.as_deref() {
                        Some("end") => measured = false,
                        Some(name) if name.starts_with("make ") => measured = true,
                        _ => (),
                    }
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    in_block = true;
                    page.blocks.push(Block {
                        line,
                        language: match kind {
                            CodeBlockKind::Fenced(language) => language.into_string(),
                            CodeBlockKind::Indented => String::new(),
                        },
                        comment: comment.take(),
                        text: String::new(),
                    });
                }
                Event::End(TagEnd::CodeBlock) => in_block = false,
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.add_anchor(&heading.take().unwrap_or_default());
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Link {
                        line,
                        target: dest_url.into_string(),
                    })
                }
                Event::Text(text) => {
                    if let (true, Some(block)) = (in_block, page.blocks.last_mut()) {
                        block.text += &text;
                    } else if let Some(heading) = &mut heading {
                        *heading += &text;
                    }
                }
                Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        *heading += &text;
                    }
                    if !measured {
                        page.spans.push(Span {
                            line,
                            text: text.into_string(),
                            before: span_end
                                .map(|end| text_between(source, end, range.start))
                                .filter(|between| !between.contains("\n\n")),
                        });
                        span_end = Some(range.end);
                    }
                }
                _ => (),
            }
        }
        page
    }

    /// GitHub makes an anchor of a heading: small letters, digits, `_` and `-`, and a number if
    /// the same heading was there before.
    fn add_anchor(&mut self, heading: &str) {
        let plain: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                _ => c.is_alphanumeric().then_some(c),
            })
            .collect();
        let mut anchor = plain.clone();

        for number in 1.. {
            if self.anchors.insert(anchor) {
                break;
            }
            anchor = format!("{plain}-{number}");
        }
    }
}

fn text_between(text: &str, start: usize, end: usize) -> String {
    text.get(start..end).unwrap_or_default().to_owned()
}

fn too_long(text: &str) -> Vec<usize> {
    let mut fenced = false;

    text.lines()
        .enumerate()
        .filter(|(_, line)| {
            let is_fence = line.trim_start().starts_with("```");

            fenced ^= is_fence;
            let is_prose = !fenced && !is_fence && !may_be_long(line);
            is_prose && line.chars().count() > WIDTH
        })
        .map(|(number, _)| number + 1)
        .collect()
}

/// Whether a line cannot be broken: code, a row of a table, a picture, or the end of a link.
fn may_be_long(line: &str) -> bool {
    let is_entry = line.trim_start().starts_with("- [") && line.ends_with(')');
    let text = line.trim_end_matches(['.', ',', ';', ':', ')']);

    is_entry
        || text.ends_with(".md")
        || ["    ", "|", "!", "<"]
            .iter()
            .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_comment_is_about_the_block_after_it() {
        let text = "<!-- source: a.rs -->\n\n```rust\nfn a() {}\n```\n\n\
                    <!-- source: b.rs -->\n\nText.\n\n```c\nint b;\n```\n";
        let page = Page::parse("page.md".into(), text);
        let [a, b] = &page.blocks[..] else {
            panic!("not two blocks");
        };

        assert_eq!((a.line, a.language.as_str()), (3, "rust"));
        assert_eq!(a.comment.as_deref(), Some("source: a.rs"));
        assert_eq!(a.text, "fn a() {}\n");
        assert_eq!((b.line, b.comment.as_deref()), (11, None));
    }

    #[test]
    fn names_in_measured_tables_are_none() {
        let text = "`a`\n\n<!-- make bench: x -->\n\n`b`\n\n<!-- end -->\n\n`c`\n";
        let page = Page::parse("page.md".into(), text);
        let spans: Vec<_> = page.spans.iter().map(|span| span.text.as_str()).collect();

        assert_eq!(spans, ["a", "c"]);
    }

    #[test]
    fn only_prose_has_a_width() {
        let long = "word ".repeat(30);
        let text = format!("{long}\n\n    {long}\n\n| {long} |\n\n```\n{long}\n```\n\n- {long}\n");

        assert_eq!(Page::parse("page.md".into(), &text).too_long, [1, 11]);
    }

    #[test]
    fn what_is_between_spans() {
        let page = Page::parse("page.md".into(), "`a` in `b`\n\n`c`\n\n| `d` | `e` |\n");
        let before: Vec<_> = page
            .spans
            .iter()
            .map(|span| span.before.as_deref())
            .collect();

        assert_eq!(before, [None, Some(" in "), None, None, Some(" | ")]);
    }
}
