//! Masking (RFC 6455, section 5.3), in place and eight bytes at a time.

/// Masks or unmasks `payload`; gives the key for the bytes that follow it in the same frame.
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut next = key;
    next.rotate_left(payload.len() % 4);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in chunks.by_ref() {
        if let Ok(eight) = <&mut [u8; 8]>::try_from(chunk) {
            *eight = (u64::from_ne_bytes(*eight) ^ word).to_ne_bytes();
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= mask;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_goes_on_where_it_stopped() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let plain: Vec<u8> = (0..100).collect();
        let expected: Vec<u8> =
            plain.iter().zip(key.into_iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for size in 1..=plain.len() {
            let mut bytes = plain.clone();
            bytes.chunks_mut(size).fold(key, |key, piece| apply(piece, key));
            assert_eq!(bytes, expected, "pieces of {size}");
        }
    }
}
