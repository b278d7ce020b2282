//! A stream as it may arrive.

/// Cuts of changing length: each depends on the byte that it begins with.
pub fn pieces(mut stream: &[u8], cut: u8) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(first) = stream.first() {
        let length = usize::from(first.wrapping_mul(31) ^ cut) % 23 + 1;
        let (piece, rest) = stream.split_at(length.min(stream.len()));
        found.push(piece);
        stream = rest;
    }
    found
}
