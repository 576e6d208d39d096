//! Host names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use dns_lookup::{AddrInfoHints, LookupErrorKind, getaddrinfo};

use crate::error::{Error, Result};

/// The address that a host is written as, if it is no name. A zone (`fe80::1%2`) counts only if it is a number; an
/// interface's name is the system's to look up.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (ip, zone) = host.split_once('%')?;
    let (ip, zone) = (ip.parse::<Ipv6Addr>().ok()?, zone.parse().ok()?);
    Some(SocketAddrV6::new(ip, port, 0, zone).into())
}

/// Asks the system for the addresses of a name, in its order, each once, with port 0.
///
/// # Errors
///
/// `ENOTFOUND` or another of the codes that `getaddrinfo` has. A name with a NUL byte is `ENOTFOUND` too.
pub(crate) async fn lookup(host: &str) -> Result<Vec<SocketAddr>> {
    let name = host.to_owned();
    // `getaddrinfo` blocks, for as long as the name servers make it.
    match tokio::task::spawn_blocking(move || lookup_blocking(&name)).await {
        Ok(result) => result,
        Err(_) => Err(Error::lookup("ECANCELED", host)),
    }
}

fn lookup_blocking(host: &str) -> Result<Vec<SocketAddr>> {
    let hints = AddrInfoHints { socktype: libc::SOCK_STREAM, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| Error::lookup(code(error.kind()), host))?;
    let mut addresses = Vec::new();
    for info in found.flatten() {
        if !addresses.contains(&info.sockaddr) {
            addresses.push(info.sockaddr);
        }
    }
    if addresses.is_empty() {
        return Err(Error::lookup("ENOTFOUND", host));
    }
    Ok(addresses)
}

/// Node folds "no such name" and "a name without addresses" into one code.
fn code(kind: LookupErrorKind) -> &'static str {
    match kind {
        LookupErrorKind::Again => "EAI_AGAIN",
        LookupErrorKind::Badflags => "EAI_BADFLAGS",
        LookupErrorKind::Fail => "EAI_FAIL",
        LookupErrorKind::Family => "EAI_FAMILY",
        LookupErrorKind::Memory => "EAI_MEMORY",
        LookupErrorKind::Service => "EAI_SERVICE",
        LookupErrorKind::Socktype => "EAI_SOCKTYPE",
        LookupErrorKind::System => "EAI_SYSTEM",
        LookupErrorKind::NoName | LookupErrorKind::NoData | LookupErrorKind::IO | LookupErrorKind::Unknown => {
            "ENOTFOUND"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        for (host, address) in [
            ("127.0.0.1", Some("127.0.0.1:80")),
            ("::1", Some("[::1]:80")),
            ("fe80::1%3", Some("[fe80::1%3]:80")),
            ("fe80::1%eth0", None),
            ("localhost", None),
            ("127.1", None),
        ] {
            assert_eq!(literal(host, 80), address.map(|address| address.parse().unwrap()), "{host}");
        }
    }

    #[test]
    fn names_that_cannot_be() {
        for host in ["a name", "nul\0byte", &"long".repeat(30)] {
            let error = lookup_blocking(host).unwrap_err();
            assert_eq!(error.message(), format!("getaddrinfo {} {host}", error.code()));
            assert_eq!(
                (error.code(), error.syscall(), error.hostname()),
                ("ENOTFOUND", Some("getaddrinfo"), Some(host))
            );
        }
    }
}
