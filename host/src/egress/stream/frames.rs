//! Bytes as they come, cut into frames: lines, or the lines of an event.

use std::collections::VecDeque;

use super::FRAME_BYTES_MAX;

/// So much is kept of what is too large. Units: bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// One thing that a network pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// As received, without what frames it.
    Whole(Vec<u8>),
    /// Over 1 MiB: its first bytes; the rest was passed over.
    Cut(Vec<u8>),
}

/// Gathers bytes into frames.
pub(super) struct Frames {
    /// A frame is what stands before an empty line; else it is a line.
    by_events: bool,
    line: Vec<u8>,
    event: Vec<u8>,
    /// Something came since the last line ended, kept or not.
    has_line: bool,
    /// The frame at hand is over the bound: the rest of it is passed over.
    is_cut: bool,
    /// The last byte ended a line and may be half of its end.
    after_return: bool,
    ready: VecDeque<Frame>,
}

impl Frames {
    pub(super) fn new(by_events: bool) -> Self {
        Self { by_events, line: Vec::new(), event: Vec::new(), has_line: false, is_cut: false, after_return: false, ready: VecDeque::new() }
    }

    /// The next frame that is whole.
    pub(super) fn take(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// Bytes came. A line ends with a line feed, a carriage return, or both.
    pub(super) fn arrived(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes.first() == Some(&b'\n') {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.gather(part);
            if end.is_some() {
                self.after_return = rest.first() == Some(&b'\r');
                self.end_of_line();
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    fn gather(&mut self, part: &[u8]) {
        let room = FRAME_BYTES_MAX.saturating_sub(self.line.len() + self.event.len());
        self.is_cut |= part.len() > room;
        self.has_line |= !part.is_empty();
        self.line.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn end_of_line(&mut self) {
        let (line, has_line) = (std::mem::take(&mut self.line), std::mem::take(&mut self.has_line));
        if !self.by_events {
            let is_cut = std::mem::take(&mut self.is_cut);
            return self.finish(line, is_cut);
        }
        if !has_line {
            let (event, is_cut) = (std::mem::take(&mut self.event), std::mem::take(&mut self.is_cut));
            return self.finish(event, is_cut);
        }
        // A line that begins with a colon is a sign of life. Of an event that is cut nothing more is kept: it may never end.
        let is_full = self.is_cut && self.event.len() >= HEAD_BYTES_MAX;
        if line.first() != Some(&b':') && !is_full {
            if !self.event.is_empty() {
                self.event.push(b'\n');
            }
            self.event.extend_from_slice(&line);
        }
    }

    fn finish(&mut self, mut frame: Vec<u8>, is_cut: bool) {
        if is_cut {
            frame.truncate(HEAD_BYTES_MAX);
            self.ready.push_back(Frame::Cut(frame));
        } else if !frame.is_empty() {
            self.ready.push_back(Frame::Whole(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of these bytes, however they are cut.
    fn all(by_events: bool, text: &str) -> Vec<String> {
        let whole = cut(by_events, text.as_bytes(), text.len().max(1));
        for size in 1..8 {
            assert_eq!(cut(by_events, text.as_bytes(), size), whole, "in parts of {size}");
        }
        whole
    }

    fn cut(by_events: bool, bytes: &[u8], size: usize) -> Vec<String> {
        let mut frames = Frames::new(by_events);
        let mut all = Vec::new();
        for part in bytes.chunks(size) {
            frames.arrived(part);
            while let Some(Frame::Whole(frame)) = frames.take() {
                all.push(String::from_utf8(frame).unwrap());
            }
        }
        all
    }

    #[test]
    fn lines_are_frames_and_empty_ones_are_signs_of_life() {
        assert_eq!(all(false, "{\"a\":1}\r\n\r\n\r\n{\"b\":2}\n{\"c\""), ["{\"a\":1}", "{\"b\":2}"], "what has no end is not there yet");
    }

    #[test]
    fn an_event_is_its_lines_without_comments() {
        let said = ":thump\n\nevent: update\ndata: {\"id\":1}\n\n:thump\nevent: delete\r\ndata: 7\r\n\r\ndata: a\rdata: b\r\rdata: half\n";
        assert_eq!(all(true, said), ["event: update\ndata: {\"id\":1}", "event: delete\ndata: 7", "data: a\ndata: b"]);
    }

    #[test]
    fn an_event_that_never_ends_takes_no_more_room() {
        let mut frames = Frames::new(true);
        for _ in 0..64 {
            frames.arrived(&b"x\n".repeat(FRAME_BYTES_MAX / 16));
            assert!(frames.event.len() <= FRAME_BYTES_MAX + 1, "{}: the end of a line is not counted", frames.event.len());
        }
        frames.arrived(b"\ndata: next\n\n");
        assert!(matches!(frames.take(), Some(Frame::Cut(_))));
        assert_eq!(frames.take(), Some(Frame::Whole(b"data: next".to_vec())));
    }

    #[test]
    fn what_is_too_large_costs_itself_alone() {
        for (by_events, end) in [(false, "\n"), (true, "\n\n")] {
            let mut frames = Frames::new(by_events);
            for _ in 0..33 {
                frames.arrived(&[b'x'; 64 << 10]);
            }
            frames.arrived(end.as_bytes());
            frames.arrived(b"data: next");
            frames.arrived(end.as_bytes());

            assert_eq!(frames.take(), Some(Frame::Cut(vec![b'x'; HEAD_BYTES_MAX])));
            assert_eq!(frames.take(), Some(Frame::Whole(b"data: next".to_vec())));
            assert_eq!(frames.take(), None);
        }
    }
}
