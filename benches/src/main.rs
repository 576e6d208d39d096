//! The program; see the library of this package.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    sockeye_bench::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("sockeye-bench uses epoll, CPU affinity and /proc, so it runs on Linux only");
    std::process::exit(1);
}
