//! Arbitrary bytes from a proxy: an error or a success, never a panic, never more read than the answer.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::super::{ProxyError, ask};
use crate::proxy::Proxy;

/// Lets a peer say `bytes` in pieces of `piece` and close; what the client left unread comes back.
fn say(url: &str, bytes: &[u8], piece: usize) -> (Result<(), ProxyError>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
        let bytes = bytes.to_vec();
        let peer = tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                if theirs.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            // Reads what the client says, so that its writes do not fail first.
            let _ = theirs.shutdown().await;
            let mut sink = Vec::new();
            let _ = theirs.read_to_end(&mut sink).await;
        });
        let proxy = Proxy::parse(url).unwrap();
        let done = ask(&mut ours, &proxy, "stream.example", 443, Instant::now() + Duration::from_secs(60)).await;
        let mut left = Vec::new();
        if done.is_ok() {
            let _ = ours.read_to_end(&mut left).await;
        }
        drop(ours);
        let _ = peer.await;
        (done, left)
    })
}

/// An answer as a server may give it, or nearly so.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![Just(vec![5, 0]), Just(vec![1, 0]), Just(vec![5, 2]), any::<[u8; 2]>().prop_map(Vec::from)];
    let bound = prop_oneof![
        any::<[u8; 6]>().prop_map(|b| [&[1][..], &b].concat()),
        any::<[u8; 18]>().prop_map(|b| [&[4][..], &b].concat()),
        prop::collection::vec(any::<u8>(), 0..=255).prop_map(|b| [&[3, b.len() as u8][..], &b, &[0, 80]].concat()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    (prop::collection::vec(field, 0..3), 0..3_u8, bound).prop_map(|(fields, rep, bound)| {
        let mut bytes = fields.concat();
        bytes.extend([5, rep, 0]);
        bytes.extend(bound);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_a_result(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1..64_usize) {
        for url in ["socks5://h:1", "socks5://user:password@h:1", "http://h:1", "http://user:password@h:1"] {
            let (done, _) = say(url, &bytes, piece);
            if let Err(err) = done {
                prop_assert!(!err.to_string().contains("password@"), "{err}");
            }
        }
    }

    #[test]
    fn nearly_right_answers_give_a_result_that_does_not_depend_on_how_they_are_cut(
        bytes in reply(), piece in 1..64_usize,
    ) {
        for url in ["socks5://h:1", "socks5://user:password@h:1"] {
            let (cut, cut_left) = say(url, &bytes, piece);
            let (whole, whole_left) = say(url, &bytes, 4_096);
            let text = |r: &Result<(), ProxyError>| r.as_ref().map_err(ToString::to_string).copied();
            prop_assert_eq!(text(&cut), text(&whole));
            prop_assert_eq!(cut_left, whole_left);
        }
    }

    #[test]
    fn a_right_answer_is_taken_to_its_last_byte_and_no_further(
        name in prop::collection::vec(any::<u8>(), 0..=255), after in prop::collection::vec(any::<u8>(), 0..64),
        piece in 1..64_usize,
    ) {
        let reply = [&[5, 0, 5, 0, 0, 3, name.len() as u8][..], &name, &[1, 2], &after].concat();
        let (done, left) = say("socks5://h:1", &reply, piece);
        prop_assert!(done.is_ok());
        prop_assert_eq!(left, after);
    }
}
