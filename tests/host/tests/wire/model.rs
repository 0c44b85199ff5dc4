// SPDX-License-Identifier: GPL-2.0

//! A receiving port and its model, under random steps.

use super::*;
use std::collections::VecDeque;

/// A step of the test.
#[derive(Clone, Debug)]
enum Step {
    /// Posts up to this many buffers.
    Post(u32),
    /// Sends a frame of this length.
    Send(usize),
    /// Makes the frames sent so far visible to the driver.
    Publish,
    /// Takes up to this many frames.
    Take(usize),
    /// Changes the length of the longest accepted frame.
    SetMax(usize),
    /// Replaces the ring by one of `1 << bits` descriptors, and drains the old one.
    Resize(u32),
    /// Takes the port down and up again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u32..20).prop_map(Step::Post),
        8 => (0usize..1500).prop_map(Step::Send),
        5 => Just(Step::Publish),
        6 => (0usize..10).prop_map(Step::Take),
        1 => (0usize..1700).prop_map(Step::SetMax),
        1 => (1u32..6).prop_map(Step::Resize),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..200)
}

/// A port, and a model of its content.
struct Model {
    writer: RingWriter<Side>,
    driver: DriverSide<Shared>,
    slots: u32,
    max_len: usize,
    /// Posted buffers without and with a frame.
    empty: usize,
    filled: usize,
    /// Frames that are not published yet, and those that are.
    written: VecDeque<Vec<u8>>,
    published: VecDeque<Vec<u8>>,
    alive: Arc<()>,
    sent: u8,
}

impl Model {
    fn new(slots: u32, max_len: usize) -> Self {
        let (writer, driver) = port_with(slots, max_len, Strip::default());
        Self {
            writer,
            driver,
            slots,
            max_len,
            empty: 0,
            filled: 0,
            written: VecDeque::new(),
            published: VecDeque::new(),
            alive: Arc::default(),
            sent: 0,
        }
    }

    fn post(&mut self, most: u32) {
        for _ in 0..most {
            match self.driver.post(page(PAGE_ROOM, &self.alive)) {
                Ok(()) => self.empty += 1,
                Err(_) => assert_eq!(self.driver.unused(), 0),
            }
        }
        self.driver.doorbell();
    }

    /// Sends a frame, and checks what happens to it.
    fn send(&mut self, len: usize) -> Result<(), Refused> {
        self.sent = self.sent.wrapping_add(1);
        let bytes: Vec<u8> = (0..len)
            .map(|at| (at as u8).wrapping_mul(self.sent))
            .collect();
        let mut wire = bytes.clone();
        wire.resize(len.max(60), 0);
        let buffers = wire.len().div_ceil(PAGE_ROOM);
        let expected = if len < 14 {
            Err(Refused::Malformed)
        } else if wire.len() > self.max_len.max(60) {
            Err(Refused::Oversize)
        } else if buffers > self.empty {
            Err(Refused::NoBuffer)
        } else {
            Ok(wire.len() as u32)
        };
        let frame = Packet { bytes, ..packet(0) };
        assert_eq!(
            super::send(&mut self.writer, &frame, Hash::NONE),
            expected,
            "{len} bytes"
        );
        expected?;
        self.empty -= buffers;
        self.filled += buffers;
        self.written.push_back(wire);
        Ok(())
    }

    fn publish(&mut self) {
        let buffers: usize = self
            .written
            .iter()
            .map(|frame| frame.len().div_ceil(PAGE_ROOM))
            .sum();
        assert_eq!(self.writer.publish() as usize, buffers);
        self.published.append(&mut self.written);
    }

    fn take(&mut self, most: usize) {
        for _ in 0..most {
            let found = take_frame(&mut self.driver).map(|(bytes, _)| bytes);
            let expected = self.published.pop_front();
            self.filled -= expected
                .as_ref()
                .map_or(0, |frame| frame.len().div_ceil(PAGE_ROOM));
            assert_eq!(found, expected);
        }
    }

    /// As the driver does it: frames go to the new ring while the old one is drained.
    fn resize(&mut self, slots: u32) {
        let mut new = Self::new(slots, self.max_len);
        new.post(slots);
        std::mem::swap(self, &mut new);
        self.sent = new.sent;
        new.publish();
        new.take(new.published.len());
        new.end();
    }

    /// Ends the ring with everything in it.
    fn end(self) {
        if let Side::Pages(nic) = self.writer.into_nic().0 {
            self.driver.end(nic);
        }
        assert_eq!(
            Arc::strong_count(&self.alive),
            1,
            "buffers of a ring that has ended"
        );
    }

    fn check(&mut self) {
        let inside = self.empty + self.filled;
        assert_eq!(Arc::strong_count(&self.alive) - 1, inside);
        assert_eq!(self.driver.unused() as usize, self.slots as usize - inside);
        assert_eq!(self.driver.has_completed(), !self.published.is_empty());
        for len in [0, 1, 280, 281, 1000] {
            assert_eq!(
                self.writer.has_room(len),
                len.div_ceil(PAGE_ROOM) <= self.empty
            );
        }
        // No frame on the wire is shorter than 60 bytes, whatever the port is set to.
        let most = self.max_len.max(60).div_ceil(PAGE_ROOM);
        assert_eq!(self.writer.is_full(), most > self.empty);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// With any steps, frames arrive in order, each once and unchanged, and no buffer is lost.
    #[test]
    fn a_port_behaves_like_its_model(steps in steps()) {
        let mut port = Model::new(8, 1360);
        for step in steps {
            match step {
                Step::Post(most) => port.post(most),
                Step::Send(len) => drop(port.send(len)),
                Step::Publish => port.publish(),
                Step::Take(most) => port.take(most),
                Step::SetMax(max_len) => {
                    port.max_len = max_len;
                    port.writer.configure(config(max_len));
                }
                Step::Resize(bits) => port.resize(1 << bits),
                Step::Restart => {
                    let (slots, max_len) = (port.slots, port.max_len);
                    std::mem::replace(&mut port, Model::new(slots, max_len)).end();
                }
            }
            port.check();
        }
        port.end();
    }
}
