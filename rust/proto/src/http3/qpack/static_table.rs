//! The static table (RFC 9204, appendix A), by index and by what is in it.

/// A field of the table.
pub(super) type Entry = (&'static [u8], &'static [u8]);

/// RFC 9204, appendix A.
#[rustfmt::skip]
pub(super) static ENTRIES: [Entry; 99] = ALL;

#[rustfmt::skip]
const ALL: [Entry; 99] = [
    (b":authority", b""),
    (b":path", b"/"),
    (b"age", b"0"),
    (b"content-disposition", b""),
    (b"content-length", b"0"),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"referer", b""),
    (b"set-cookie", b""),
    (b":method", b"CONNECT"),
    (b":method", b"DELETE"),
    (b":method", b"GET"),
    (b":method", b"HEAD"),
    (b":method", b"OPTIONS"),
    (b":method", b"POST"),
    (b":method", b"PUT"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"103"),
    (b":status", b"200"),
    (b":status", b"304"),
    (b":status", b"404"),
    (b":status", b"503"),
    (b"accept", b"*/*"),
    (b"accept", b"application/dns-message"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"accept-ranges", b"bytes"),
    (b"access-control-allow-headers", b"cache-control"),
    (b"access-control-allow-headers", b"content-type"),
    (b"access-control-allow-origin", b"*"),
    (b"cache-control", b"max-age=0"),
    (b"cache-control", b"max-age=2592000"),
    (b"cache-control", b"max-age=604800"),
    (b"cache-control", b"no-cache"),
    (b"cache-control", b"no-store"),
    (b"cache-control", b"public, max-age=31536000"),
    (b"content-encoding", b"br"),
    (b"content-encoding", b"gzip"),
    (b"content-type", b"application/dns-message"),
    (b"content-type", b"application/javascript"),
    (b"content-type", b"application/json"),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-type", b"image/gif"),
    (b"content-type", b"image/jpeg"),
    (b"content-type", b"image/png"),
    (b"content-type", b"text/css"),
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-type", b"text/plain"),
    (b"content-type", b"text/plain;charset=utf-8"),
    (b"range", b"bytes=0-"),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"strict-transport-security", b"max-age=31536000; includesubdomains"),
    (b"strict-transport-security", b"max-age=31536000; includesubdomains; preload"),
    (b"vary", b"accept-encoding"),
    (b"vary", b"origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-xss-protection", b"1; mode=block"),
    (b":status", b"100"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"302"),
    (b":status", b"400"),
    (b":status", b"403"),
    (b":status", b"421"),
    (b":status", b"425"),
    (b":status", b"500"),
    (b"accept-language", b""),
    (b"access-control-allow-credentials", b"FALSE"),
    (b"access-control-allow-credentials", b"TRUE"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-allow-methods", b"get"),
    (b"access-control-allow-methods", b"get, post, options"),
    (b"access-control-allow-methods", b"options"),
    (b"access-control-expose-headers", b"content-length"),
    (b"access-control-request-headers", b"content-type"),
    (b"access-control-request-method", b"get"),
    (b"access-control-request-method", b"post"),
    (b"alt-svc", b"clear"),
    (b"authorization", b""),
    (b"content-security-policy", b"script-src 'none'; object-src 'none'; base-uri 'none'"),
    (b"early-data", b"1"),
    (b"expect-ct", b""),
    (b"forwarded", b""),
    (b"if-range", b""),
    (b"origin", b""),
    (b"purpose", b"prefetch"),
    (b"server", b""),
    (b"timing-allow-origin", b"*"),
    (b"upgrade-insecure-requests", b"1"),
    (b"user-agent", b""),
    (b"x-forwarded-for", b""),
    (b"x-frame-options", b"deny"),
    (b"x-frame-options", b"sameorigin"),
];

/// What the table has of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// All of it, at this index.
    Field(u8),
    /// Its name, at this index.
    Name(u8),
}

/// No index.
const NONE: u8 = u8::MAX;
const SLOTS: usize = 128;
/// Any number that gives each name a slot of its own; that it does is checked when this is compiled.
const SEED: u32 = 0x6a37_3913;

/// Where a name of at least three bytes (the table has no shorter one) has its slot: by its length
/// and three of its bytes, which tell all names of the table apart.
const fn slot(name: &[u8]) -> usize {
    let (size, middle) = (name.len(), name[name.len() / 2]);
    let key = u32::from_be_bytes([middle, name[size - 3], name[size - 1], size as u8]);
    (key.wrapping_mul(SEED) >> 25) as usize
}

/// The first entry of the name that has the slot.
static FIRSTS: [u8; SLOTS] = {
    let mut firsts = [NONE; SLOTS];
    let mut index = 0;
    while index < ALL.len() {
        let place = slot(ALL[index].0);
        if firsts[place] == NONE {
            firsts[place] = index as u8;
        } else {
            assert!(same(ALL[firsts[place] as usize].0, ALL[index].0));
        }
        index += 1;
    }
    firsts
};

/// The next entry with the name of this one.
static NEXTS: [u8; ALL.len()] = {
    let mut nexts = [NONE; ALL.len()];
    let mut index = 0;
    while index < ALL.len() {
        let mut next = index + 1;
        while next < ALL.len() && !same(ALL[index].0, ALL[next].0) {
            next += 1;
        }
        if next < ALL.len() {
            nexts[index] = next as u8;
        }
        index += 1;
    }
    nexts
};

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Looks a field up: one slot, one comparison of names, and one of values for each entry of it.
#[inline]
pub(crate) fn find(name: &[u8], value: &[u8]) -> Option<Found> {
    if name.len() < 3 {
        return None;
    }
    let first = FIRSTS[slot(name) % SLOTS];
    let (known, _) = ENTRIES.get(usize::from(first))?;
    if *known != name {
        return None;
    }
    let mut index = first;
    while let Some((_, known)) = ENTRIES.get(usize::from(index)) {
        if *known == value {
            return Some(Found::Field(index));
        }
        index = NEXTS[usize::from(index)];
    }
    Some(Found::Name(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_appendix() {
        // RFC 9204, appendix A: the first, the last, and those around where it is easy to slip.
        for (index, name, value) in [
            (0, ":authority", ""),
            (1, ":path", "/"),
            (15, ":method", "CONNECT"),
            (24, ":status", "103"),
            (28, ":status", "503"),
            (31, "accept-encoding", "gzip, deflate, br"),
            (41, "cache-control", "public, max-age=31536000"),
            (52, "content-type", "text/html; charset=utf-8"),
            (54, "content-type", "text/plain;charset=utf-8"),
            (58, "strict-transport-security", "max-age=31536000; includesubdomains; preload"),
            (63, ":status", "100"),
            (71, ":status", "500"),
            (74, "access-control-allow-credentials", "TRUE"),
            (
                85,
                "content-security-policy",
                "script-src 'none'; object-src 'none'; base-uri 'none'",
            ),
            (98, "x-frame-options", "sameorigin"),
        ] {
            assert_eq!(ENTRIES[index], (name.as_bytes(), value.as_bytes()), "{index}");
        }
        let bytes: usize = ENTRIES.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert_eq!(bytes, 2026, "of all names and values");
    }

    #[test]
    fn each_entry_is_found_and_nothing_else() {
        for (index, (name, value)) in ENTRIES.iter().enumerate() {
            assert_eq!(find(name, value), Some(Found::Field(index as u8)));
            let first = ENTRIES.iter().position(|(other, _)| other == name);
            assert_eq!(find(name, b"~").zip(first), first.map(|at| (Found::Name(at as u8), at)));
            for cut in 0..name.len() {
                let begun = &name[..cut];
                let known = ENTRIES.iter().any(|(other, _)| *other == begun);
                assert_eq!(find(begun, value).is_some(), known);
            }
            let mut other = name.to_vec();
            other[0] ^= 1;
            assert_eq!(find(&other, value), None);
        }
        assert_eq!(find(b"", b""), None);
        assert_eq!(find(&[b'x'; 300], b""), None);
    }
}
