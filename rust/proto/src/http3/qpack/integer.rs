//! Integers that begin within a byte (RFC 7541, section 5.1; RFC 9204, section 4.1.1).

/// Bytes behind the first that the largest integer takes, 62 bits of 7 each. Longer ones are
/// refused, even where they say nothing: RFC 7541, section 5.1, asks for a limit.
pub(super) const MOST: usize = 9;

/// The largest that is taken, and that QUIC can say.
const MAX: u64 = (1 << 62) - 1;

/// The integer in the lower `bits` of the first of `bytes` and those behind it, and how many bytes
/// it takes. `None` if it goes on behind them or is too large.
#[inline]
pub(super) fn decode(bytes: &[u8], bits: u32) -> Option<(u64, usize)> {
    let mask = u8::MAX >> (8 - bits);
    let first = bytes.first()? & mask;
    if first < mask {
        return Some((first.into(), 1));
    }
    let mut value = u64::from(first);
    for (index, byte) in bytes.iter().skip(1).take(MOST).enumerate() {
        value += u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value <= MAX).then_some((value, index + 2));
        }
    }
    None
}

/// Appends `value` in the lower `bits` of a byte whose upper ones are `pattern`.
#[inline]
pub(super) fn encode(value: usize, bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let mask = u8::MAX >> (8 - bits);
    if value < usize::from(mask) {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7541() {
        // RFC 7541, appendix C.1.
        for (value, bits, bytes) in
            [(10, 5, &[0b01010][..]), (1337, 5, &[0b11111, 154, 10]), (42, 8, &[42])]
        {
            let mut out = Vec::new();
            encode(value, bits, 0, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(decode(bytes, bits), Some((value as u64, bytes.len())));
        }
    }

    #[test]
    fn edges_go_there_and_back() {
        for bits in 3..=8 {
            let mask = (1_usize << bits) - 1;
            for value in [0, 1, mask - 1, mask, mask + 1, mask + 127, mask + 128, 1 << 40] {
                let pattern = !(mask as u8);
                let mut out = Vec::new();
                encode(value, bits, pattern, &mut out);
                assert_eq!(out[0] & pattern, pattern);
                assert_eq!(decode(&out, bits), Some((value as u64, out.len())));
                for cut in 0..out.len() {
                    assert_eq!(decode(&out[..cut], bits), None);
                }
            }
        }
    }

    #[test]
    fn integers_of_62_bits_are_taken_and_larger_or_longer_ones_are_not() {
        // RFC 9204, section 4.1.1: up to and including 62 bits.
        let mut largest = vec![0xff];
        let mut rest = MAX - 255;
        while rest >= 0x80 {
            largest.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        largest.push(rest as u8);
        assert_eq!(decode(&largest, 8), Some((MAX, largest.len())));
        largest[1] += 1;
        assert_eq!(decode(&largest, 8), None);
        // RFC 7541, section 5.1: excessively long.
        let mut long = vec![0xff];
        long.extend([0x80; MOST - 1]);
        long.push(0);
        assert_eq!(decode(&long, 8), Some((255, 10)));
        long.insert(1, 0x80);
        assert_eq!(decode(&long, 8), None);
        assert_eq!(decode(&[0xff; 100], 8), None);
    }
}
