//! Host names.

mod hints;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;

use dns_lookup::{AddrInfoHints, LookupErrorKind, getaddrinfo};

use crate::error::{Error, Result};
use crate::family::Family;

pub use hints::Hints;

/// Finds the addresses of host names: Node's `lookup` option.
///
/// Every closure of the right form is one, so most need no type of their own. The future is dropped when the socket is
/// destroyed. Errors are passed on as they are; an empty list becomes `ENOTFOUND`. A scope in an IPv6 socket address is
/// used, its port is not.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sockeye::Result<()> {
/// use std::net::SocketAddr;
/// use sockeye::{ConnectOptions, LookupOptions};
///
/// async fn lookup(host: String, _: LookupOptions) -> sockeye::Result<Vec<SocketAddr>> {
///     match &*host {
///         "database" => Ok(vec![([10, 0, 0, 5], 0).into()]),
///         other => Ok(tokio::net::lookup_host((other, 0)).await?.collect()),
///     }
/// }
///
/// let socket = ConnectOptions::new().lookup(lookup).connect("database:5432").await?;
/// # Ok(())
/// # }
/// ```
pub trait Resolver: Send + Sync + 'static {
    /// Finds the addresses of a host, in the order in which they are to be tried.
    fn lookup(
        &self,
        host: String,
        options: LookupOptions,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>>> + Send>>;
}

/// What a lookup is asked for: the options of Node's `dns.lookup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookupOptions {
    /// The only family that is wanted.
    pub family: Option<Family>,
    /// The flags.
    pub hints: Hints,
}

impl<F, T> Resolver for F
where
    F: Fn(String, LookupOptions) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn lookup(
        &self,
        host: String,
        options: LookupOptions,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>>> + Send>> {
        Box::pin(self(host, options))
    }
}

/// The resolver of some options: the system's, unless they have one.
#[derive(Clone, Default)]
pub(crate) struct AnyResolver(pub(crate) Option<Arc<dyn Resolver>>);

impl AnyResolver {
    /// The addresses of a host in their order, of the wanted family, each once.
    pub(crate) async fn lookup(&self, host: &str, options: LookupOptions) -> Result<Vec<SocketAddr>> {
        let found = match &self.0 {
            Some(resolver) => resolver.lookup(host.to_owned(), options).await?,
            None => lookup(host, options).await?,
        };
        let mut addresses = Vec::with_capacity(found.len());
        for address in found {
            let is_wanted = options.family.is_none_or(|family| family == Family::from(address));
            if is_wanted && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(Error::lookup("ENOTFOUND", host));
        }
        Ok(addresses)
    }
}

impl fmt::Debug for AnyResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "custom" } else { "system" })
    }
}

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

/// Asks the system, with port 0 in the result.
///
/// # Errors
///
/// `ENOTFOUND` or another of the codes that `getaddrinfo` has. A name with a NUL byte is `ENOTFOUND` too.
async fn lookup(host: &str, options: LookupOptions) -> Result<Vec<SocketAddr>> {
    let name = host.to_owned();
    // `getaddrinfo` blocks, for as long as the name servers make it.
    match tokio::task::spawn_blocking(move || lookup_blocking(&name, options)).await {
        Ok(result) => result,
        Err(_) => Err(Error::lookup("ECANCELED", host)),
    }
}

fn lookup_blocking(host: &str, options: LookupOptions) -> Result<Vec<SocketAddr>> {
    let family = match options.family {
        None => libc::AF_UNSPEC,
        Some(Family::Ipv4) => libc::AF_INET,
        Some(Family::Ipv6) => libc::AF_INET6,
    };
    let hints = AddrInfoHints {
        flags: options.hints.bits(),
        address: family,
        socktype: libc::SOCK_STREAM,
        ..AddrInfoHints::default()
    };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| Error::lookup(code(error.kind()), host))?;
    Ok(found.flatten().map(|info| info.sockaddr).collect())
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
            let error = lookup_blocking(host, LookupOptions::default()).unwrap_err();
            assert_eq!(error.message(), format!("getaddrinfo {} {host}", error.code()));
            assert_eq!(
                (error.code(), error.syscall(), error.hostname()),
                ("ENOTFOUND", Some("getaddrinfo"), Some(host))
            );
        }
    }

    #[test]
    fn family_and_hints_reach_the_system() {
        let lookup = |host, family, hints| lookup_blocking(host, LookupOptions { family: Some(family), hints });
        let v4 = lookup("127.0.0.1", Family::Ipv4, Hints::NONE).unwrap();
        assert_eq!(v4, ["127.0.0.1:0".parse().unwrap()]);
        assert!(lookup("127.0.0.1", Family::Ipv6, Hints::NONE).is_err(), "not an IPv6 address");
        let mapped = lookup("127.0.0.1", Family::Ipv6, Hints::V4MAPPED).unwrap();
        assert_eq!(mapped, ["[::ffff:127.0.0.1]:0".parse().unwrap()]);
    }
}
