//! The Huffman code of RFC 7541, appendix B. It is canonical, so the lengths of its codes are all
//! there is to write down; the tables are made of them when this is compiled.

/// Lengths of the codes, in bits, of every byte and then of EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const EOS: u16 = 256;
const LONGEST: usize = 30;
/// Codes up to here are looked up at once: they are those of what fields are made of.
const SHORT: u32 = 8;

/// The code as it is read: for each length its first code, shifted to the top of 32 bits, and the
/// symbols of all lengths in the order of their codes.
struct Code {
    /// Where the codes of longer lengths begin.
    ends: [u64; LONGEST + 1],
    firsts: [u32; LONGEST + 1],
    offsets: [u16; LONGEST + 1],
    symbols: [u16; 257],
}

const CODE: Code = {
    let mut code = Code {
        ends: [0; LONGEST + 1],
        firsts: [0; LONGEST + 1],
        offsets: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut length, mut next, mut place) = (1, 0_u64, 0);
    while length <= LONGEST {
        code.firsts[length] = next as u32;
        code.offsets[length] = place as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                place += 1;
                next += 1 << (32 - length);
            }
            symbol += 1;
        }
        code.ends[length] = next;
        length += 1;
    }
    // A code that leaves nothing out and nothing over (Kraft): every bit string decodes.
    assert!(next == 1 << 32 && place == 257);
    code
};

/// For writing: the code of each byte, and its length.
const CODES: [(u32, u8); 256] = {
    let mut codes = [(0, 0); 256];
    let mut place = 0;
    while place < 257 {
        let symbol = CODE.symbols[place] as usize;
        if symbol < 256 {
            let length = LENGTHS[symbol];
            let rank = place as u32 - CODE.offsets[length as usize] as u32;
            codes[symbol] = ((CODE.firsts[length as usize] >> (32 - length)) + rank, length);
        }
        place += 1;
    }
    codes
};

/// For reading: what the next [`SHORT`] bits begin with, as byte and length; length 0 where a longer
/// code begins.
const SHORTS: [(u8, u8); 1 << SHORT] = {
    let mut shorts = [(0, 0); 1 << SHORT];
    let mut symbol = 0;
    while symbol < 256 {
        let (code, length) = CODES[symbol];
        if length as u32 <= SHORT {
            let free = SHORT - length as u32;
            let mut rest = 0;
            while rest < 1 << free {
                shorts[((code << free) + rest) as usize] = (symbol as u8, length);
                rest += 1;
            }
        }
        symbol += 1;
    }
    shorts
};

static SHORT_TABLE: [(u8, u8); 1 << SHORT] = SHORTS;
static CODE_TABLE: [(u32, u8); 256] = CODES;
static LONG_TABLE: Code = CODE;

/// Why bytes are no string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// They are not of the code, or padded with something else than the beginning of EOS, or with
    /// eight bits or more of it (RFC 7541, section 5.2).
    Code,
    /// The string is longer than there is room for.
    TooLong,
}

/// Appends the string that `bytes` are the code of, at most `room` bytes.
pub(super) fn decode(bytes: &[u8], room: usize, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let start = out.len();
    // No code is shorter than five bits: a place for each symbol that there can be, so that there is
    // one check for room and memory.
    out.resize(start + (bytes.len() * 8 / 5).min(room), 0);
    let places = out.get_mut(start..).unwrap_or_default();
    let length = symbols(bytes, places)?;
    out.truncate(start + length);
    Ok(())
}

fn symbols(bytes: &[u8], places: &mut [u8]) -> Result<usize, Wrong> {
    // The next bits from the top of the window on, and how many they are.
    let (mut window, mut bits, mut rest, mut at) = (0_u64, 0_u32, bytes, 0);
    loop {
        if bits < 32 {
            let Some((four, behind)) = rest.split_first_chunk::<4>() else { break };
            window |= u64::from(u32::from_be_bytes(*four)) << (32 - bits);
            bits += 32;
            rest = behind;
        }
        let (symbol, length) = symbol(window)?;
        *places.get_mut(at).ok_or(Wrong::TooLong)? = symbol;
        at += 1;
        window <<= length;
        bits -= length;
    }
    for byte in rest {
        window |= u64::from(*byte) << (56 - bits);
        bits += 8;
    }
    // Behind the last bit, ones: what begins there and is not padding is longer than what is left.
    loop {
        let filled = window | u64::MAX >> bits;
        if bits < 8 && filled == u64::MAX {
            return Ok(at);
        }
        let (symbol, length) = symbol(filled)?;
        if length > bits {
            return Err(Wrong::Code);
        }
        *places.get_mut(at).ok_or(Wrong::TooLong)? = symbol;
        at += 1;
        window <<= length;
        bits -= length;
    }
}

/// The symbol that the window begins with, and the length of its code.
#[inline]
fn symbol(window: u64) -> Result<(u8, u32), Wrong> {
    match SHORT_TABLE[usize::from((window >> 56) as u8)] {
        (_, 0) => long((window >> 32) as u32),
        (symbol, length) => Ok((symbol, length.into())),
    }
}

#[inline(never)]
fn long(window: u32) -> Result<(u8, u32), Wrong> {
    let mut length = SHORT as usize + 1;
    // The longest length ends at 2^32, which nothing reaches.
    while length < LONGEST && u64::from(window) >= LONG_TABLE.ends[length] {
        length += 1;
    }
    let rank = (window - LONG_TABLE.firsts[length]) >> (32 - length);
    let place = usize::from(LONG_TABLE.offsets[length]) + rank as usize;
    match LONG_TABLE.symbols.get(place) {
        Some(&symbol) if symbol != EOS => Ok((symbol as u8, length as u32)),
        _ => Err(Wrong::Code),
    }
}

/// Bytes that the code of `string` takes.
#[inline]
pub(super) fn len(string: &[u8]) -> usize {
    let bits: usize = string.iter().map(|byte| usize::from(CODE_TABLE[usize::from(*byte)].1)).sum();
    bits.div_ceil(8)
}

/// Appends the code of `string`.
pub(super) fn encode(string: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut bits) = (0_u64, 0_u32);
    for byte in string {
        let (code, length) = CODE_TABLE[usize::from(*byte)];
        window = window << length | u64::from(code);
        bits += u32::from(length);
        if bits >= 32 {
            bits -= 32;
            out.extend_from_slice(&((window >> bits) as u32).to_be_bytes());
        }
    }
    // The rest, padded with ones, the beginning of EOS.
    let padded = (window << 32 | 0xffff_ffff) << (32 - bits) >> 32 | 0xffff_ffff >> bits;
    let rest = (padded as u32).to_be_bytes();
    out.extend_from_slice(rest.get(..bits.div_ceil(8) as usize).unwrap_or_default());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http3::tests::hex;
    use crate::random::Random;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Wrong> {
        let mut out = Vec::new();
        decode(bytes, 1 << 20, &mut out).map(|()| out)
    }

    #[test]
    fn the_vectors_of_rfc_7541() {
        // RFC 7541, appendices C.4 and C.6.
        for (string, code) in [
            ("www.example.com", "f1e3 c2e5 f23a 6ba0 ab90 f4ff"),
            ("no-cache", "a8eb 1064 9cbf"),
            ("custom-key", "25a8 49e9 5ba9 7d7f"),
            ("custom-value", "25a8 49e9 5bb8 e8b4 bf"),
            ("302", "6402"),
            ("private", "aec3 771a 4b"),
            (
                "Mon, 21 Oct 2013 20:13:21 GMT",
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
            ),
            ("https://www.example.com", "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3"),
            ("307", "640e ff"),
            (
                "Mon, 21 Oct 2013 20:13:22 GMT",
                "d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff",
            ),
            ("gzip", "9bd9 ab"),
            (
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 \
                 3160 65c0 03ed 4ee5 b106 3d50 07",
            ),
        ] {
            let code = hex(code);
            let mut out = Vec::new();
            encode(string.as_bytes(), &mut out);
            assert_eq!(out, code, "{string}");
            assert_eq!(len(string.as_bytes()), code.len());
            assert_eq!(decoded(&code).unwrap(), string.as_bytes());
        }
    }

    #[test]
    fn the_code_is_that_of_the_appendix() {
        // RFC 7541, appendix B: the first and the last code of each length. With the lengths, which
        // add up, there is no other canonical one.
        for (byte, code, length) in [
            (48, 0x0, 5),
            (116, 0x9, 5),
            (32, 0x14, 6),
            (117, 0x2d, 6),
            (58, 0x5c, 7),
            (122, 0x7b, 7),
            (38, 0xf8, 8),
            (90, 0xfd, 8),
            (33, 0x3f8, 10),
            (63, 0x3fc, 10),
            (39, 0x7fa, 11),
            (124, 0x7fc, 11),
            (35, 0xffa, 12),
            (62, 0xffb, 12),
            (0, 0x1ff8, 13),
            (126, 0x1ffd, 13),
            (94, 0x3ffc, 14),
            (125, 0x3ffd, 14),
            (60, 0x7ffc, 15),
            (123, 0x7ffe, 15),
            (92, 0x7fff0, 19),
            (208, 0x7fff2, 19),
            (128, 0xfffe6, 20),
            (226, 0xfffed, 20),
            (153, 0x1fffdc, 21),
            (230, 0x1fffe8, 21),
            (129, 0x3fffd2, 22),
            (233, 0x3fffeb, 22),
            (1, 0x7fffd8, 23),
            (239, 0x7ffff4, 23),
            (9, 0xffffea, 24),
            (237, 0xfffff5, 24),
            (199, 0x1ffffec, 25),
            (235, 0x1ffffef, 25),
            (192, 0x3ffffe0, 26),
            (255, 0x3ffffee, 26),
            (203, 0x7ffffde, 27),
            (254, 0x7fffff0, 27),
            (2, 0xfffffe2, 28),
            (249, 0xffffffe, 28),
            (10, 0x3ffffffc, 30),
            (22, 0x3ffffffe, 30),
        ] {
            assert_eq!(CODES[byte], (code, length), "{byte}");
        }
    }

    #[test]
    fn strings_go_there_and_back() {
        let mut random = Random(7);
        for _ in 0..5_000 {
            let letters = [256, 128, 64][random.below(3)];
            let string: Vec<u8> =
                (0..random.below(80)).map(|_| random.below(letters) as u8).collect();
            let mut code = Vec::new();
            encode(&string, &mut code);
            assert_eq!(code.len(), len(&string));
            assert_eq!(decoded(&code).as_deref(), Ok(&string[..]));
            // Room is counted to the byte.
            let mut out = b"before".to_vec();
            assert_eq!(decode(&code, string.len(), &mut out), Ok(()));
            if let Some(less) = string.len().checked_sub(1) {
                assert_eq!(decode(&code, less, &mut Vec::new()), Err(Wrong::TooLong));
            }
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        // RFC 7541, section 5.2. "0" is 00000, "&" is 11111000.
        assert_eq!(decoded(&[0b0000_0111]).unwrap(), b"0");
        assert_eq!(decoded(&[]).unwrap(), b"");
        for wrong in [
            // Not ones.
            &[0b0000_0110][..],
            &[0b0000_0011],
            &[0xf8, 0b0000_0000, 0b0000_0000],
            // A whole byte of them, or more.
            &[0xff],
            &[0b0000_0111, 0xff],
            &[0xf8, 0xff],
            &[0xff, 0xff, 0xff],
            // EOS itself.
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc, 0x07],
            &[0b0000_0111, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(decoded(wrong), Err(Wrong::Code), "{wrong:02x?}");
        }
    }

    #[test]
    fn whatever_is_read_is_written_the_same() {
        // No string has two codes.
        let mut random = Random(11);
        let mut read = 0;
        for _ in 0..20_000 {
            let code: Vec<u8> = (0..random.below(12)).map(|_| random.below(256) as u8).collect();
            if let Ok(string) = decoded(&code) {
                let mut again = Vec::new();
                encode(&string, &mut again);
                assert_eq!(again, code);
                read += 1;
            }
        }
        assert!(read > 100);
    }
}
