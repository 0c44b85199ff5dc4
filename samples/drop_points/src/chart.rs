// SPDX-License-Identifier: GPL-2.0

//! Bar charts, as SVG.

/// Where the bars begin at least, and how long the longest is.
const LEAST_LEFT: f64 = 330.0;
const LONGEST: f64 = 450.0;
/// What is right of them: a value, and a margin.
const RIGHT: f64 = 80.0;
/// The widest that a character of a title is on average. The font is the reader's, so this is generous.
const CHARACTER: f64 = 7.4;
/// Left and right of a title.
const MARGINS: f64 = 16.0 + 10.0;
const BAR: f64 = 13.0;
const GAP: f64 = 9.0;
const GROUP: f64 = 34.0;
/// Where the groups begin, below the line that explains the colours or where it would be.
const TOP: f64 = 62.0;
const TOP_WITHOUT_NAMES: f64 = 36.0;
/// From one name to the next in the line that explains the colours.
const NAME: f64 = 70.0;

/// One kind of bars.
pub struct Series {
    /// A word.
    pub name: String,
    pub colour: &'static str,
}

/// Bars with the same name, one of each series.
pub struct Bars {
    pub title: String,
    pub values: Vec<f64>,
}

pub struct Group {
    pub title: String,
    pub bars: Vec<Bars>,
}

pub struct Chart {
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// The line above it.
    pub head: String,
    pub series: Vec<Series>,
    pub groups: Vec<Group>,
}

impl Chart {
    pub fn draw(&self) -> String {
        let title = escape(&self.title);
        let head = escape(&self.head);
        let left = self.left();
        let width = left + LONGEST + RIGHT;
        let (body, height) = self.body(left);

        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-labelledby=\"title\">\n\
             <title id=\"title\">{title}</title>\n\
             <style>\n\
             text {{ font: 13px sans-serif; fill: #222; }}\n\
             .head {{ font-size: 17px; font-weight: bold; }}\n\
             .group {{ font-weight: bold; }}\n\
             .value {{ font-size: 11px; }}\n\
             {}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text class=\"head\" x=\"16\" y=\"28\">{head}</text>\n\
             {}{body}</svg>\n",
            self.colours(),
            self.names()
        )
    }

    fn colours(&self) -> String {
        let mut colours = String::new();

        for series in &self.series {
            colours += &format!(".{} {{ fill: {}; }}\n", series.name, series.colour);
        }
        colours
    }

    /// One colour explains itself.
    fn has_names(&self) -> bool {
        self.series.len() > 1
    }

    /// The line that says which colour is what, if there are several.
    fn names(&self) -> String {
        let mut x = 16.0;
        let mut names = String::new();

        if !self.has_names() {
            return names;
        }
        for series in &self.series {
            names += &format!(
                "<rect class=\"{0}\" x=\"{x:.0}\" y=\"42\" width=\"12\" height=\"12\"/>\
                 <text x=\"{1:.0}\" y=\"53\">{0}</text>\n",
                series.name,
                x + 17.0
            );
            x += NAME;
        }
        names
    }

    /// Where the bars begin: the longest title must have room before them.
    fn left(&self) -> f64 {
        self.groups
            .iter()
            .flat_map(|group| &group.bars)
            .map(|bars| (bars.title.chars().count() as f64 * CHARACTER + MARGINS).ceil())
            .fold(LEAST_LEFT, f64::max)
    }

    /// The bars, and where they end.
    fn body(&self, left: f64) -> (String, f64) {
        let largest = self
            .groups
            .iter()
            .flat_map(|group| &group.bars)
            .flat_map(|bars| bars.values.iter().copied())
            .fold(f64::MIN_POSITIVE, f64::max);
        let mut body = String::new();
        let mut y = if self.has_names() {
            TOP
        } else {
            TOP_WITHOUT_NAMES
        };

        for group in &self.groups {
            body += &format!(
                "<text class=\"group\" x=\"16\" y=\"{:.0}\">{}</text>\n",
                y + 20.0,
                escape(&group.title)
            );
            y += GROUP;
            for bars in &group.bars {
                let middle = y + bars.values.len() as f64 * BAR / 2.0;

                body += &format!(
                    "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n",
                    left - 10.0,
                    middle + 4.0,
                    escape(&bars.title)
                );
                for (series, value) in self.series.iter().zip(&bars.values) {
                    // What is too small to be measured may come out below nothing.
                    let length = (value / largest * LONGEST).max(0.0);

                    body += &format!(
                        "<rect class=\"{}\" x=\"{left:.0}\" y=\"{y:.0}\" width=\"{length:.1}\" \
                         height=\"{BAR:.0}\"/>\n\
                         <text class=\"value\" x=\"{:.1}\" y=\"{:.0}\">{value:.0}</text>\n",
                        series.name,
                        left + length + 5.0,
                        y + BAR - 2.0
                    );
                    y += BAR;
                }
                y += GAP;
            }
            y += 8.0;
        }
        (body, y + 10.0)
    }
}

/// Text between tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Bars, Chart, Group, Series};

    /// Where the title of the only bar ends.
    fn end_of(title: &str) -> f64 {
        let chart = Chart {
            title: String::new(),
            head: String::new(),
            series: vec![Series {
                name: "one".into(),
                colour: "#000",
            }],
            groups: vec![Group {
                title: String::new(),
                bars: vec![Bars {
                    title: title.into(),
                    values: vec![1.0],
                }],
            }],
        };
        let drawn = chart.draw();
        let line = drawn
            .lines()
            .find(|line| line.contains(title))
            .expect("a line with the title");

        line.split('"')
            .nth(1)
            .expect("x")
            .parse()
            .expect("a number")
    }

    #[test]
    fn a_long_title_has_room() {
        assert_eq!(end_of("short one"), 320.0);
        let long = "as long as what is dropped in ip_rcv behind a cpumap";
        assert!(end_of(long) > 7.0 * long.len() as f64, "{}", end_of(long));
    }
}
