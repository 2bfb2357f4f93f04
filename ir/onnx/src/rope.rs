//! Bytes in several pieces that read as one, so that the decoder hands out the pieces themselves.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// A sequence of pieces. Asking for exactly the bytes of a piece answers that piece, without a copy.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    pieces: VecDeque<Piece>,
    remaining: usize,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// Bytes that nobody looks at, read as zeros.
    Blank(usize),
    /// As many bytes as the number says, for which others are handed out when they are asked for as a whole.
    Marked(usize, Bytes),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Blank(length) | Piece::Marked(length, _) => *length,
        }
    }
}

static ZEROS: [u8; 4096] = [0; 4096];

impl Rope {
    /// Appends bytes.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.remaining += bytes.len();
            self.pieces.push_back(Piece::Bytes(bytes));
        }
    }

    /// Appends `length` bytes that the decoder skips.
    pub fn push_blank(&mut self, length: usize) {
        if length > 0 {
            self.remaining += length;
            self.pieces.push_back(Piece::Blank(length));
        }
    }

    /// Appends `length` bytes that are not there, for which whoever asks for exactly them gets `mark`.
    pub fn push_marked(&mut self, length: usize, mark: Bytes) {
        if length > 0 {
            self.remaining += length;
            self.pieces.push_back(Piece::Marked(length, mark));
        }
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        match self.pieces.front() {
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::Blank(length) | Piece::Marked(length, _)) => &ZEROS[..ZEROS.len().min(*length)],
            None => &[],
        }
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.remaining, "the caller asked for {n} bytes of {}", self.remaining);
        self.remaining -= n;
        while n > 0 {
            let Some(front) = self.pieces.front_mut() else { unreachable!("`remaining` is the sum of the pieces") };
            let length = front.len();
            if n >= length {
                self.pieces.pop_front();
                n -= length;
                continue;
            }
            match front {
                Piece::Bytes(bytes) => bytes.advance(n),
                Piece::Blank(length) => *length -= n,
                // The rest of a whole is not the whole.
                Piece::Marked(length, _) => *front = Piece::Blank(*length - n),
            }
            return;
        }
    }

    fn copy_to_bytes(&mut self, n: usize) -> Bytes {
        assert!(n <= self.remaining, "the caller asked for {n} bytes of {}", self.remaining);
        if n == 0 {
            return Bytes::new();
        }
        if let Some(Piece::Bytes(front)) = self.pieces.front_mut()
            && n <= front.len()
        {
            self.remaining -= n;
            if n < front.len() {
                return front.split_to(n);
            }
            if let Some(Piece::Bytes(whole)) = self.pieces.pop_front() {
                return whole;
            }
        }
        if let Some(Piece::Marked(length, mark)) = self.pieces.front()
            && *length == n
        {
            let mark = mark.clone();
            self.advance(n);
            return mark;
        }
        let mut copy = Vec::with_capacity(n);
        while copy.len() < n {
            let chunk = self.chunk();
            let step = chunk.len().min(n - copy.len());
            copy.extend_from_slice(&chunk[..step]);
            self.advance(step);
        }
        copy.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(pieces: &[&'static [u8]]) -> Rope {
        let mut rope = Rope::default();
        pieces.iter().for_each(|piece| rope.push(Bytes::from_static(piece)));
        rope
    }

    #[test]
    fn a_whole_piece_is_handed_out_without_a_copy() {
        let piece = Bytes::from(vec![7; 100]);
        let mut rope = rope(&[b"ab"]);
        rope.push(piece.clone());
        rope.advance(2);
        assert_eq!(rope.copy_to_bytes(100).as_ptr(), piece.as_ptr());
        assert_eq!(rope.remaining(), 0);
    }

    #[test]
    fn a_mark_is_handed_out_for_the_whole_piece_only() {
        let mut rope = rope(&[b"ab"]);
        rope.push_marked(3, Bytes::from_static(b"!"));
        rope.push_marked(3, Bytes::from_static(b"?"));
        rope.advance(2);
        assert_eq!(rope.copy_to_bytes(3), Bytes::from_static(b"!"));
        assert_eq!(rope.copy_to_bytes(1), Bytes::from_static(b"\0"));
        assert_eq!(rope.copy_to_bytes(2), Bytes::from_static(b"\0\0"));
        assert!(!rope.has_remaining());
    }

    #[test]
    fn reading_across_pieces_gives_the_bytes_in_order() {
        let mut rope = rope(&[b"abc", b"de", b"fgh"]);
        rope.push_blank(2);
        rope.push(Bytes::from_static(b"i"));
        assert_eq!(rope.get_u8(), b'a');
        assert_eq!(rope.copy_to_bytes(6), Bytes::from_static(b"bcdefg"));
        assert_eq!(rope.copy_to_bytes(4), Bytes::from_static(b"h\0\0i"));
        assert!(!rope.has_remaining() && rope.chunk().is_empty());
    }
}
