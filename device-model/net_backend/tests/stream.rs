// SPDX-License-Identifier: GPL-2.0
//! The stream cable against plain sockets, kind and hostile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails that way")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use net_backend::stream::{Address, Stream};
use net_backend::{Endpoint, FrameBatch, BATCH_CAPACITY, MAX_FRAME};

/// Services `cable` until `done` says so, or fails after five seconds.
fn until(cable: &mut Stream, mut done: impl FnMut(&mut Stream) -> bool) {
    let start = Instant::now();
    loop {
        cable.service(Instant::now());
        if done(cable) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "nothing happened");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn unix(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

fn framed(frame: &[u8]) -> Vec<u8> {
    let len = u32::try_from(frame.len()).unwrap();
    [&len.to_be_bytes()[..], frame].concat()
}

fn connected() -> (tempfile::TempDir, Stream, UnixStream) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wire");
    let listener = UnixListener::bind(&path).unwrap();
    let mut cable = Stream::connect(unix(&path));
    until(&mut cable, |cable| cable.link_up());
    let (peer, _) = listener.accept().unwrap();
    (dir, cable, peer)
}

fn collect(cable: &mut Stream, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    until(cable, |cable| {
        cable.receive(64, &mut |frame| frames.push(frame.to_vec()));
        frames.len() >= count
    });
    frames
}

#[test]
fn bytes_are_those_of_qemu() {
    let (_dir, mut cable, mut peer) = connected();
    let mut batch = FrameBatch::with_capacity(BATCH_CAPACITY);
    batch.push(&[1; 42]);
    batch.push(&[2; 60]);
    cable.send(&mut batch);
    let mut wire = [0; 4 + 42 + 4 + 60];
    peer.read_exact(&mut wire).unwrap();
    assert_eq!(wire[..], [framed(&[1; 42]), framed(&[2; 60])].concat());
    assert!(batch.is_empty());
}

#[test]
fn frames_may_arrive_in_any_pieces() {
    let (_dir, mut cable, mut peer) = connected();
    let wire = [framed(&[1; 60]), framed(&[2; 5]), framed(&[3; 9000])].concat();
    let writer = std::thread::spawn(move || {
        for piece in wire.chunks(997) {
            for byte in piece.chunks(piece.len() / 2 + 1) {
                peer.write_all(byte).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        peer
    });
    let frames = collect(&mut cable, 2);
    assert_eq!(frames, [vec![1; 60], vec![3; 9000]]);
    assert_eq!((cable.stats().received, cable.stats().runts), (2, 1));
    drop(writer.join().unwrap());
}

#[test]
fn the_greatest_frame_passes_and_a_greater_one_ends_the_connection() {
    let (_dir, mut cable, mut peer) = connected();
    let writer = std::thread::spawn(move || {
        peer.write_all(&framed(&vec![7; MAX_FRAME])).unwrap();
        peer
    });
    assert_eq!(collect(&mut cable, 1)[0].len(), MAX_FRAME);
    let mut peer = writer.join().unwrap();
    peer.write_all(&0x7fff_ffffu32.to_be_bytes()).unwrap();
    until(&mut cable, |cable| {
        cable.receive(9, &mut |_| panic!("no frame was sent"));
        !cable.link_up()
    });
    assert_eq!(cable.stats().framing_errors, 1);
}

#[test]
fn a_lost_peer_takes_the_link_down_and_a_new_one_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wire");
    let mut cable = Stream::connect(unix(&path));
    cable.service(Instant::now());
    assert!(!cable.link_up() && cable.wait().deadline.is_some());
    let listener = UnixListener::bind(&path).unwrap();
    until(&mut cable, |cable| cable.link_up());
    let (mut first, _) = listener.accept().unwrap();
    first.write_all(&[0, 0, 0, 60, 1, 2]).unwrap();
    drop(first);
    until(&mut cable, |cable| {
        cable.receive(9, &mut |_| panic!("half a frame"));
        !cable.link_up()
    });
    let mut batch = FrameBatch::with_capacity(1000);
    batch.push(&[0; 60]);
    cable.send(&mut batch);
    assert_eq!(cable.stats().send_drops, 1);
    until(&mut cable, |cable| cable.link_up());
    let (mut second, _) = listener.accept().unwrap();
    second.write_all(&framed(&[9; 60])).unwrap();
    assert_eq!(collect(&mut cable, 1), [vec![9; 60]]);
    assert_eq!(cable.stats().connections, 2);
}

#[test]
fn a_peer_that_does_not_read_pushes_back_then_costs_frames_only() {
    let (_dir, mut cable, mut peer) = connected();
    let mut batch = FrameBatch::with_capacity(BATCH_CAPACITY);
    let mut sent = 0usize;
    while cable.can_send() {
        while batch.push(&[5; 1500]) {
            sent += 1;
        }
        cable.send(&mut batch);
    }
    assert!(cable.wait().write);
    for _ in 0..20 {
        while batch.push(&[6; 1500]) {}
        cable.send(&mut batch);
    }
    assert!(cable.stats().send_drops > 0);
    let expected = usize::try_from(cable.stats().sent).unwrap();
    assert!(expected >= sent);
    let reader = std::thread::spawn(move || {
        let mut wire = vec![0; expected * 1504];
        peer.read_exact(&mut wire).unwrap();
        wire.chunks(1504).all(|frame| frame[..4] == [0, 0, 5, 0xdc])
    });
    until(&mut cable, |cable| cable.can_send());
    assert!(reader.join().unwrap());
}

#[test]
fn listening_replaces_a_stale_socket_and_serves_one_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wire");
    drop(UnixListener::bind(&path).unwrap());
    let mut cable = Stream::listen(&unix(&path)).unwrap();
    assert!(Stream::listen(&unix(&path)).is_err());
    for round in 0..3u8 {
        let mut peer = UnixStream::connect(&path).unwrap();
        until(&mut cable, |cable| cable.link_up());
        peer.write_all(&framed(&[round; 60])).unwrap();
        assert_eq!(collect(&mut cable, 1), [vec![round; 60]]);
        drop(peer);
        until(&mut cable, |cable| {
            cable.receive(9, &mut |_| ());
            !cable.link_up()
        });
    }
    drop(cable);
    assert!(!path.exists());
}

#[test]
fn tcp_both_ways() {
    let mut listening = Stream::listen(&Address::Tcp(([127, 0, 0, 1], 0).into())).unwrap();
    let at = listening.local_address().unwrap();
    let mut connecting = Stream::connect(Address::Tcp(at));
    until(&mut connecting, |cable| {
        listening.service(Instant::now());
        cable.link_up() && listening.link_up()
    });
    let mut batch = FrameBatch::with_capacity(1000);
    batch.push(&[3; 77]);
    connecting.send(&mut batch);
    assert_eq!(collect(&mut listening, 1), [vec![3; 77]]);
    drop(listening);
    assert!(TcpStream::connect(at).is_err());
    until(&mut connecting, |cable| {
        cable.receive(9, &mut |_| ());
        !cable.link_up()
    });
}
