//! Block lists of servers and of connections: as Node 26 does, on real sockets.
#![cfg(target_os = "linux")]

mod addresses;
mod common;

use std::sync::Arc;

use addresses::{always, has_ipv6, refusing_beside, server_beside};
use common::serving::{connection, event, events, has_no_event, listening_on, text_of};
use common::{bounded, next, rest, socket_path};
use sockeye::{AutoSelectFamily, BlockList, ConnectOptions, Error, Server, ServerEvent, ServerOptions, Socket};

fn list(cidrs: &[&str]) -> BlockList {
    let mut list = BlockList::new();
    cidrs.iter().for_each(|cidr| list.add_cidr(cidr).unwrap());
    list
}

const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

mod a_server {
    use super::*;

    async fn listening_with(block_list: BlockList, endpoint: &str) -> Server {
        let server = Server::with_options(ServerOptions::new().block_list(block_list));
        server.listen(endpoint).await.unwrap();
        server
    }

    #[tokio::test]
    async fn closes_a_blocked_connection_at_once_and_tells_whose_it_was() {
        bounded(async {
            for pause in [false, true] {
                let options = ServerOptions::new().block_list(list(&["127.0.0.1/32"])).pause_on_connect(pause);
                let mut server = Server::with_options(options);
                server.listen("127.0.0.1:0").await.unwrap();
                let mut client = sockeye::connect(server.address().unwrap()).await.unwrap();
                let local = client.address().unwrap();
                assert!(matches!(server.next().await, Some(ServerEvent::Blocked(peer)) if peer == local));
                assert_eq!(server.connections(), 0);
                assert_eq!(rest(&mut client).await, ["end", "finish", "close false"]);
                server.close().await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn takes_the_others() {
        bounded(async {
            let mut server = listening_with(list(&["127.0.0.2/32"]), "127.0.0.1:0").await;
            let (_client, socket) = connection(&mut server).await;
            assert_eq!(socket.remote_address(), Some("127.0.0.1".parse().unwrap()));
        })
        .await;
    }

    #[tokio::test]
    async fn never_shows_a_blocked_connection_to_its_listener() {
        bounded(async {
            let options = ServerOptions::new().block_list(list(&["127.0.0.2/32"]));
            let mut server = Server::with_options(options).on_connection(|socket| async move {
                socket.end_with(socket.remote_address().unwrap().to_string());
                Ok(())
            });
            server.listen("127.0.0.1:0").await.unwrap();
            let address = server.address().unwrap();
            let blocked = ConnectOptions::new().local_address("127.0.0.2").connect(address.clone()).await.unwrap();
            let taken = ConnectOptions::new().local_address("127.0.0.3").connect(address).await.unwrap();
            assert_eq!((text_of(blocked).await, text_of(taken).await), (String::new(), "127.0.0.3".to_owned()));
            assert!(matches!(server.next().await, Some(ServerEvent::Blocked(_))));
            assert!(has_no_event(&mut server).await);
        })
        .await;
    }

    #[tokio::test]
    async fn on_both_families_knows_an_ipv4_address_in_its_mapped_form() {
        bounded(async {
            if !has_ipv6("a server on both families") {
                return;
            }
            for (rule, host) in
                [("127.0.0.1/32", "127.0.0.1"), ("::ffff:127.0.0.1/128", "127.0.0.1"), ("::1/128", "::1")]
            {
                let mut server = listening_with(list(&[rule]), "[::]:0").await;
                let port = server.address().unwrap().port().unwrap();
                let client = sockeye::connect((host, port)).await.unwrap();
                assert!(matches!(server.next().await, Some(ServerEvent::Blocked(_))), "{rule}");
                assert_eq!(text_of(client).await, "");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn on_a_path_blocks_nobody() {
        bounded(async {
            let mut server = listening_with(list(&EVERYBODY), &socket_path()).await;
            let (client, socket) = connection(&mut server).await;
            socket.end_with("welcome");
            assert_eq!(text_of(client).await, "welcome");
        })
        .await;
    }

    #[tokio::test]
    async fn that_is_full_drops_a_blocked_connection_like_any_other() {
        bounded(async {
            let mut server = listening_with(list(&EVERYBODY), "127.0.0.1:0").await;
            server.set_max_connections(Some(0));
            let _client = sockeye::connect(server.address().unwrap()).await.unwrap();
            assert_eq!(event(&mut server).await, "drop");
        })
        .await;
    }

    #[tokio::test]
    async fn takes_another_list_while_it_listens_and_leaves_connections() {
        bounded(async {
            let (mut server, address) = listening_on("127.0.0.1:0").await;
            let (client, socket) = connection(&mut server).await;
            assert!(server.block_list().is_none());

            let everybody = Arc::new(list(&EVERYBODY));
            server.set_block_list(Some(everybody.clone()));
            assert!(Arc::ptr_eq(&server.block_list().unwrap(), &everybody));
            let blocked = sockeye::connect(address).await.unwrap();
            assert!(matches!(server.next().await, Some(ServerEvent::Blocked(_))));
            assert_eq!(text_of(blocked).await, "");

            server.set_block_list(None);
            assert_eq!(Arc::strong_count(&everybody), 1);
            let _taken = connection(&mut server).await;
            socket.end_with("still here");
            assert_eq!(text_of(client).await, "still here");
        })
        .await;
    }

    #[tokio::test]
    async fn that_closes_does_not_wait_for_blocked_connections() {
        bounded(async {
            let mut server = listening_with(list(&EVERYBODY), "127.0.0.1:0").await;
            let _client = sockeye::connect(server.address().unwrap()).await.unwrap();
            assert!(matches!(server.next().await, Some(ServerEvent::Blocked(_))));
            server.close().await.unwrap();
            assert_eq!(events(&mut server).await, ["close"]);
        })
        .await;
    }
}

mod a_connection {
    use super::*;

    fn options(blocked: &[&str], found: &[&str]) -> ConnectOptions {
        ConnectOptions::new().block_list(list(blocked)).lookup(always(found))
    }

    #[tokio::test]
    async fn to_a_blocked_address_fails_without_reaching_it() {
        bounded(async {
            let (mut server, address) = listening_on("127.0.0.1:0").await;
            let mut socket = options(&["127.0.0.1/32"], &[]).connect(address.clone());
            socket.write("never sent");
            assert_eq!(
                rest(&mut socket).await,
                [
                    &format!("connectionAttempt {address}"),
                    "error IP(127.0.0.1) is blocked by net.BlockList",
                    "close true",
                ]
            );
            assert!(has_no_event(&mut server).await);

            let error = options(&["127.0.0.1/32"], &[]).connect(address.clone()).await.unwrap_err();
            assert_eq!((error.code(), error.kind()), ("ERR_IP_BLOCKED", std::io::ErrorKind::PermissionDenied));
            assert_eq!((error.address(), error.port()), (Some("127.0.0.1"), address.port()));
        })
        .await;
    }

    #[tokio::test]
    async fn to_the_mapped_form_of_a_blocked_address_fails_too() {
        bounded(async {
            let error = options(&["127.0.0.1/32"], &[]).connect(("::ffff:127.0.0.1", 1)).await.unwrap_err();
            assert_eq!(error.message(), "IP(::ffff:127.0.0.1) is blocked by net.BlockList");
        })
        .await;
    }

    #[tokio::test]
    async fn goes_around_the_blocked_addresses_of_a_name() {
        bounded(async {
            for mode in [AutoSelectFamily::Race, AutoSelectFamily::Serial] {
                let (_server, port, _) = server_beside("127.0.0.1", &[]).await;
                let mut socket = options(&["127.0.0.2/32"], &["127.0.0.2", "127.0.0.1"])
                    .auto_select_family(mode)
                    .connect(("name", port));
                for event in [
                    "lookup name 127.0.0.2",
                    "lookup name 127.0.0.1",
                    &format!("connectionAttemptFailed 127.0.0.2:{port} ERR_IP_BLOCKED"),
                    &format!("connectionAttempt 127.0.0.1:{port}"),
                    "connect",
                ] {
                    assert_eq!(next(&mut socket).await, event);
                }
                let tried = socket.auto_select_family_attempted_addresses();
                assert_eq!(tried, [format!("127.0.0.1:{port}").parse().unwrap()]);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn of_a_name_whose_addresses_are_blocked_or_refuse_has_each_reason() {
        bounded(async {
            let (port, _refusing) = refusing_beside(&["127.0.0.3"]);
            let codes = |error: Error| error.errors().iter().map(|error| error.code().to_owned()).collect::<Vec<_>>();

            let found = options(&["127.0.0.2/32"], &["127.0.0.3", "127.0.0.2"]);
            let error = found.connect(("name", port)).await.unwrap_err();
            assert_eq!(error.code(), "ECONNREFUSED");
            assert_eq!(codes(error), ["ECONNREFUSED", "ERR_IP_BLOCKED"]);

            let all = options(&["127.0.0.0/8"], &["127.0.0.3", "127.0.0.2"]);
            let error = all.clone().connect(("name", port)).await.unwrap_err();
            assert_eq!(error.code(), "ERR_IP_BLOCKED");
            assert_eq!(codes(error), ["ERR_IP_BLOCKED"; 2]);

            let first = all.auto_select_family(AutoSelectFamily::Off);
            let error = first.connect(("name", port)).await.unwrap_err();
            assert_eq!(error.message(), "IP(127.0.0.3) is blocked by net.BlockList");
        })
        .await;
    }

    #[tokio::test]
    async fn to_a_path_is_never_blocked() {
        bounded(async {
            let (mut server, address) = listening_on(&socket_path()).await;
            let client = options(&EVERYBODY, &[]).connect(address).await.unwrap();
            server.accept().await.unwrap().end_with("welcome");
            assert_eq!(text_of(client).await, "welcome");
        })
        .await;
    }

    #[tokio::test]
    async fn that_was_blocked_can_be_made_again() {
        bounded(async {
            let (mut server, address) = listening_on("127.0.0.1:0").await;
            let mut socket = Socket::new();
            let shared = Arc::new(list(&EVERYBODY));
            let options = ConnectOptions::new().block_list(shared.clone());
            socket.connect_with(address.clone(), options).unwrap();
            assert_eq!(rest(&mut socket).await.last().unwrap(), "close true");
            assert_eq!(Arc::strong_count(&shared), 1, "the list goes with the attempt");
            socket.connect(address).unwrap();
            server.accept().await.unwrap().end_with("welcome");
            assert_eq!(text_of(socket).await, "welcome");
        })
        .await;
    }
}
