//! Which addresses are public, and ranges of those that an admin allows although they are not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::GrantError;

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Reads `address/bits`, or a single address.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let wrong = || GrantError::new(text, "write a range like `10.0.0.0/8`");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let base: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), u8::from_str).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self { base, bits }) }
    }

    /// Says whether an address lies in it. A mapped IPv4 address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32u32.saturating_sub(self.bits.into());
                u32::from(base).checked_shr(shift).unwrap_or(0) == u32::from(address).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128u32.saturating_sub(self.bits.into());
                u128::from(base).checked_shr(shift).unwrap_or(0) == u128::from(address).checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// Says whether an address is one that the whole internet can reach. What wraps an IPv4 address is judged by that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Source: IANA's special-purpose address registries.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let [first, second, third, d, e, f, g, h] = parts;
    let [hi_a, hi_b] = g.to_be_bytes();
    let [lo_a, lo_b] = h.to_be_bytes();
    match (first, second) {
        // NAT64: the address inside counts.
        (0x0064, 0xff9b) => [third, d, e, f] == [0; 4] && is_public_v4(Ipv4Addr::new(hi_a, hi_b, lo_a, lo_b)),
        // 6to4: likewise.
        (0x2002, inside) => {
            let ([a, b], [c, d]) = (inside.to_be_bytes(), third.to_be_bytes());
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Teredo, benchmarking, ORCHID, documentation.
        (0x2001, 0x0000 | 0x0002 | 0x0010..=0x002f | 0x0db8) | (0x3fff, _) => false,
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_look_public_are_not() {
        for hidden in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "64:ff9b:0:7f00:1::808:808",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001:0:1::",
            "2001:db8::1",
            "fec0::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(hidden.parse().unwrap()), "{hidden}");
        }
        for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_range_holds_what_lies_in_it() {
        let range = Cidr::parse("10.0.0.0/8").unwrap();
        assert!(range.contains("10.255.0.1".parse().unwrap()) && range.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!range.contains("11.0.0.1".parse().unwrap()) && !range.contains("::1".parse().unwrap()));
        let six = Cidr::parse("fd00:1::/32").unwrap();
        assert!(
            six.contains("fd00:1:ffff::9".parse().unwrap())
                && !six.contains("fd00:2::".parse().unwrap())
                && !six.contains("1.1.1.1".parse().unwrap())
        );
        let all = |range: &str, address: &str| Cidr::parse(range).unwrap().contains(address.parse().unwrap());
        assert!(all("0.0.0.0/0", "9.9.9.9") && all("::/0", "2606:4700::1111") && !all("0.0.0.0/0", "2606:4700::1111"));
        assert!(Cidr::parse("127.0.0.1").unwrap().contains("127.0.0.1".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", ""] {
            assert!(Cidr::parse(wrong).is_err(), "{wrong}");
        }
    }
}
