//! Addresses that behave as a test needs them, and what the kernel says about its connections. For Linux, where all of
//! 127.0.0.0/8 is this machine.

#![allow(dead_code, unreachable_pub)]

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Socket, Type};
use sockeye::{LookupOptions, Server};

/// An address at which every connection is refused: nobody else can listen there while this lives.
pub struct Refusing(Socket);

impl Refusing {
    pub fn at(ip: &str, port: u16) -> std::io::Result<Self> {
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&address.into())?;
        Ok(Self(socket))
    }

    pub fn new(ip: &str) -> Self {
        Self::at(ip, 0).unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}

/// A server at `works` and addresses with the same port at which connections are refused.
pub async fn server_beside(works: &str, refuse: &[&str]) -> (Server, u16, Vec<Refusing>) {
    loop {
        let server = Server::new();
        server.listen((works, 0)).await.unwrap();
        let port = server.address().unwrap().port().unwrap();
        let refusing: std::io::Result<Vec<_>> = refuse.iter().map(|ip| Refusing::at(ip, port)).collect();
        if let Ok(refusing) = refusing {
            return (server, port, refusing);
        }
    }
}

/// Addresses with the same port at which connections are refused.
pub fn refusing_beside(ips: &[&str]) -> (u16, Vec<Refusing>) {
    loop {
        let first = Refusing::new(ips[0]);
        let port = first.address().port();
        let others: std::io::Result<Vec<_>> = ips[1..].iter().map(|ip| Refusing::at(ip, port)).collect();
        if let Ok(others) = others {
            return (port, std::iter::once(first).chain(others).collect());
        }
    }
}

/// An address at which a connection is neither made nor refused: its listener's queue is full.
pub struct BlackHole {
    listener: Socket,
    _filler: TcpStream,
}

impl BlackHole {
    pub async fn at(ip: &str, port: u16) -> std::io::Result<Self> {
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&address.into())?;
        socket.listen(0)?;
        let address = socket.local_addr()?.as_socket().unwrap();
        let filler = TcpStream::connect(address)?;
        while !has_full_queue(address) {
            tokio::task::yield_now().await;
        }
        Ok(Self { listener: socket, _filler: filler })
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().as_socket().unwrap().port()
    }
}

/// A server at `works` and an address with the same port that swallows connections.
pub async fn server_beside_black_hole(works: &str, black_hole: &str) -> (Server, u16, BlackHole) {
    loop {
        let (server, port, _) = server_beside(works, &[]).await;
        if let Ok(black_hole) = BlackHole::at(black_hole, port).await {
            return (server, port, black_hole);
        }
    }
}

/// A port below those that the system gives out by itself, and free at this address.
pub fn free_port(ip: &str) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let ip: IpAddr = ip.parse().unwrap();
    loop {
        let offset = std::process::id() as u16 % 1000 * 12 + NEXT.fetch_add(1, Ordering::Relaxed) % 12;
        let port = 20_000 + offset;
        if TcpListener::bind((ip, port)).is_ok() {
            return port;
        }
    }
}

/// Whether the machine has `::1`. If not, what is left out is said.
pub fn has_ipv6(what: &str) -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        println!("left out, since there is no ::1: {what}");
    }
    has
}

/// A resolver that has these addresses for every name.
pub fn always(
    ips: &[&str],
) -> impl Fn(String, LookupOptions) -> std::future::Ready<sockeye::Result<Vec<SocketAddr>>> + Send + Sync + use<> {
    let addresses: Vec<SocketAddr> = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
    move |_, _| std::future::ready(Ok(addresses.clone()))
}

/// What is left until the next keep-alive probe of a connection, in hundredths of a second, if keep-alive is on.
pub async fn keep_alive_timer(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    const KEEP_ALIVE: &str = "02";
    loop {
        let table = kernel_table();
        let is_it = |fields: &&Vec<String>| fields[1] == hexadecimal(local) && fields[2] == hexadecimal(remote);
        if let Some(fields) = table.iter().find(is_it) {
            let (timer, when) = fields[5].split_once(':').unwrap();
            return (timer == KEEP_ALIVE).then(|| u64::from_str_radix(when, 16).unwrap());
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until so many attempts to connect to this address are going on.
pub async fn attempts_are(remote: SocketAddr, count: usize) {
    const SYN_SENT: &str = "02";
    let is_one = |fields: &&Vec<String>| fields[2] == hexadecimal(remote) && fields[3] == SYN_SENT;
    while kernel_table().iter().filter(is_one).count() != count {
        tokio::task::yield_now().await;
    }
}

/// Whether a connection waits for the listener at this address, which has room for just one.
fn has_full_queue(address: SocketAddr) -> bool {
    const LISTEN: &str = "0A";
    let listener = |fields: &&Vec<String>| fields[1] == hexadecimal(address) && fields[3] == LISTEN;
    kernel_table().iter().find(listener).is_some_and(|fields| !fields[4].ends_with(":00000000"))
}

/// The kernel does not give its table out in one go: what comes and goes meanwhile can hide a line.
fn kernel_table() -> Vec<Vec<String>> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    table.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// How the kernel's table writes an IPv4 address.
fn hexadecimal(address: SocketAddr) -> String {
    let IpAddr::V4(ip) = address.ip() else { panic!("an IPv4 address is needed") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port())
}
