//! The client of Node's documentation, for the echo server.
//!
//!     cargo run --release --example echo
//!
//! and in another terminal, with the endpoint if it is not `localhost:8124`
//!
//!     cargo run --release --example client -- /tmp/echo.sock

use sockeye::Event;

#[tokio::main]
async fn main() -> sockeye::Result<()> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "localhost:8124".into());
    let mut client = sockeye::connect(endpoint).await?;
    println!("connected to server!");
    client.write("world!\r\n");

    while let Some(event) = client.next().await {
        match event {
            Event::Data(data) => {
                print!("{}", String::from_utf8_lossy(&data));
                client.end();
            }
            Event::End => println!("disconnected from server"),
            Event::Error(error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
