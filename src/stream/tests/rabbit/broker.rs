//! A broker for tests: it speaks the protocol over loopback, holds one stream, and does what a test wants to go wrong.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use stream::rabbit::{Options, Patience, Tls};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

pub const STREAM: &str = "cells";
pub const PASSWORD: &str = "p455word-of-the-test";

/// A chunk as a broker stores it.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub first: u64,
    pub records: u32,
    pub bytes: Vec<u8>,
}

/// An entry of a chunk: a message, or packed ones.
#[derive(Debug, Clone)]
pub enum Entry {
    Plain(Vec<u8>),
    Packed(Packed),
}

/// Packed messages.
#[derive(Debug, Clone)]
pub struct Packed {
    pub compression: u8,
    pub messages: u16,
    pub unpacked: u32,
    pub body: Vec<u8>,
}

impl Entry {
    pub fn records(&self) -> u32 {
        match self {
            Self::Plain(_) => 1,
            Self::Packed(packed) => u32::from(packed.messages),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(message) => [&(message.len() as u32).to_be_bytes(), message.as_slice()].concat(),
            Self::Packed(packed) => [
                &[0x80 | packed.compression << 4],
                packed.messages.to_be_bytes().as_slice(),
                &packed.unpacked.to_be_bytes(),
                &(packed.body.len() as u32).to_be_bytes(),
                &packed.body,
            ]
            .concat(),
        }
    }
}

impl Chunk {
    pub fn new(first: u64, entries: &[Entry]) -> Self {
        let records = entries.iter().map(Entry::records).sum();
        let data: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
        Self::with_data(first, 0, entries.len() as u16, records, &data, b"")
    }

    pub fn of(first: u64, messages: &[impl AsRef<[u8]>]) -> Self {
        let plain = messages
            .iter()
            .map(|message| Entry::Plain(message.as_ref().to_vec()));
        Self::new(first, &plain.collect::<Vec<_>>())
    }

    /// One with the broker's own books, which takes an offset too.
    pub fn of_books(first: u64) -> Self {
        Self::with_data(first, 1, 1, 1, b"\0\0\0\x03abc", b"")
    }

    pub fn with_data(first: u64, kind: u8, entries: u16, records: u32, data: &[u8], trailer: &[u8]) -> Self {
        let bytes = [
            &[0x50, kind],
            entries.to_be_bytes().as_slice(),
            &records.to_be_bytes(),
            &1_700_000_000_000_i64.to_be_bytes(),
            &1_u64.to_be_bytes(),
            &first.to_be_bytes(),
            &crc32fast::hash(data).to_be_bytes(),
            &(data.len() as u32).to_be_bytes(),
            &(trailer.len() as u32).to_be_bytes(),
            &[0; 4],
            data,
            trailer,
        ]
        .concat();
        Self {
            first,
            records,
            bytes,
        }
    }

    pub fn next(&self) -> u64 {
        self.first + u64::from(self.records)
    }

    /// The same chunk with a byte of its data changed.
    pub fn damaged(mut self) -> Self {
        *self.bytes.last_mut().unwrap() ^= 1;
        self
    }

    fn holds_messages(&self) -> bool {
        self.bytes[1] == 0
    }
}

/// What a broker heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Connection,
    Login(String),
    Tune(u32),
    Subscribe(u8, Option<u64>),
    Credit(u8, u16),
    Unsubscribe(u8),
    Stats,
    Heartbeat,
    Close,
}

/// What a broker is and does wrong.
#[derive(Debug)]
pub struct Faults {
    pub version: &'static str,
    /// What the login is answered with.
    pub login: u16,
    /// What a subscription is answered with.
    pub subscription: u16,
    /// Says nothing more after this many subscriptions.
    pub silent_after: Option<usize>,
    /// Sends heartbeats.
    pub heartbeats: Option<Duration>,
    /// Sends this in the place of the next chunk, once.
    pub garbage: Option<Vec<u8>>,
    /// Delivers these, each once, in the place of the chunk at the same offset.
    pub instead: Vec<Chunk>,
    /// Other brokers that hold the stream.
    pub elsewhere: Vec<u16>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            version: "4.0.5",
            login: 1,
            subscription: 1,
            silent_after: None,
            heartbeats: None,
            garbage: None,
            instead: Vec::new(),
            elsewhere: Vec::new(),
        }
    }
}

#[derive(Default)]
struct Inner {
    chunks: Vec<Chunk>,
    faults: Faults,
    heard: Vec<(Instant, Heard)>,
    subscriptions: usize,
    /// Counts deletions, each of which ends all subscriptions.
    deletions: usize,
}

pub struct Broker {
    pub port: u16,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    /// Bytes that may be sent before a connection is cut, once; negative for no limit.
    budget: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Broker {
    pub async fn start(chunks: Vec<Chunk>, faults: Faults) -> Self {
        Self::start_with(chunks, faults, None).await
    }

    pub async fn start_with(chunks: Vec<Chunk>, faults: Faults, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Mutex::new(Inner {
            chunks,
            faults,
            ..Inner::default()
        }));
        let (changed, budget) = (Arc::new(Notify::new()), Arc::new(AtomicI64::new(-1)));
        let peer = Peer {
            inner: Arc::clone(&inner),
            changed: Arc::clone(&changed),
            budget: Arc::clone(&budget),
        };
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (peer, tls) = (peer.clone(), tls.clone());
                tokio::spawn(async move {
                    peer.hear(Heard::Connection);
                    match tls {
                        None => peer.serve(socket).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(socket) => peer.serve(socket).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self {
            port,
            inner,
            changed,
            budget,
            task,
        }
    }

    /// Options to read its stream from `from` on, with a small buffer.
    pub fn options(&self, from: u64) -> Options {
        let mut options = Options::new(
            STREAM,
            "reader",
            Arc::new(|| Ok(Zeroizing::new(PASSWORD.to_owned()))),
        );
        options.port = self.port;
        options.from = from;
        options.heartbeat = Duration::from_secs(1);
        options.buffer = 3 << 20;
        options.patience = Patience::Tries(4);
        options
    }

    pub fn options_tls(&self, ca_file: &std::path::Path) -> Options {
        let mut options = self.options(0);
        options.patience = Patience::Tries(1);
        options.tls = Some(Tls {
            ca_file: Some(ca_file.to_owned()),
        });
        options
    }

    /// Cuts the connection that sends the byte after so many, once.
    pub fn cut_after(&self, bytes: usize) {
        self.budget.store(bytes as i64, Ordering::SeqCst);
    }

    /// Whether that has happened.
    pub fn was_cut(&self) -> bool {
        self.budget.load(Ordering::SeqCst) < 0
    }

    pub fn publish(&self, chunk: Chunk) {
        self.inner.lock().unwrap().chunks.push(chunk);
        self.changed.notify_waiters();
    }

    pub fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.inner.lock().unwrap().faults);
        self.changed.notify_waiters();
    }

    /// The stream is deleted and made anew with these chunks.
    pub fn replace(&self, chunks: Vec<Chunk>) {
        let mut inner = self.inner.lock().unwrap();
        inner.chunks = chunks;
        inner.deletions += 1;
        drop(inner);
        self.changed.notify_waiters();
    }

    pub fn heard(&self) -> Vec<Heard> {
        let inner = self.inner.lock().unwrap();
        inner.heard.iter().map(|(_, heard)| heard.clone()).collect()
    }

    pub fn count(&self, wanted: impl Fn(&Heard) -> bool) -> usize {
        self.heard().iter().filter(|heard| wanted(heard)).count()
    }
}

#[derive(Clone)]
struct Peer {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    budget: Arc<AtomicI64>,
}

struct Subscription {
    id: u8,
    next: u64,
    credit: u16,
    all: bool,
}

impl Peer {
    fn hear(&self, heard: Heard) {
        self.inner.lock().unwrap().heard.push((Instant::now(), heard));
    }

    /// One connection; None when it ended.
    async fn serve(self, socket: impl AsyncRead + AsyncWrite + Send + 'static) -> Option<()> {
        let (mut read, mut write) = split(socket);
        let (sender, mut frames) = mpsc::unbounded_channel();
        let ears = self.clone();
        // Heartbeats are heard even while a delivery is stuck.
        let reader = tokio::spawn(async move {
            while let Ok(length) = read.read_u32().await {
                let mut frame = vec![0; length as usize];
                if read.read_exact(&mut frame).await.is_err() {
                    break;
                }
                if frame == [0, 23, 0, 1] {
                    ears.hear(Heard::Heartbeat);
                } else if sender.send(frame).is_err() {
                    break;
                }
            }
        });
        let ended = self.answer_all(&mut frames, &mut write).await;
        reader.abort();
        let _ = write.shutdown().await;
        ended
    }

    async fn answer_all(
        &self,
        frames: &mut mpsc::UnboundedReceiver<Vec<u8>>,
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Option<()> {
        let mut subscriptions = Vec::new();
        let (deletions, heartbeats) = {
            let inner = self.inner.lock().unwrap();
            (inner.deletions, inner.faults.heartbeats)
        };
        let mut heartbeats = tokio::time::interval(heartbeats.unwrap_or(Duration::from_secs(999)));
        heartbeats.tick().await;
        loop {
            let changed = self.changed.notified();
            if self.inner.lock().unwrap().deletions > deletions && !subscriptions.is_empty() {
                subscriptions.clear();
                let update = [&[0, 16, 0, 1, 0, 6], text(STREAM).as_slice()].concat();
                self.send(write, &update).await?;
            }
            self.deliver(&mut subscriptions, write).await?;
            tokio::select! {
                frame = frames.recv() => self.answer(&frame?, &mut subscriptions, write).await?,
                () = changed => {}
                _ = heartbeats.tick() => self.send(write, &[0, 23, 0, 1]).await?,
            }
        }
    }

    async fn answer(
        &self,
        frame: &[u8],
        subscriptions: &mut Vec<Subscription>,
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Option<()> {
        let number = |at: usize, bytes: usize| {
            frame[at..at + bytes]
                .iter()
                .fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let key = number(0, 2) as u16;
        let response = |code: u16, rest: &[u8]| {
            [
                &(key | 0x8000).to_be_bytes(),
                &[0, 1],
                &frame[4..8],
                &code.to_be_bytes(),
                rest,
            ]
            .concat()
        };
        let (version, login, subscription) = {
            let inner = self.inner.lock().unwrap();
            (
                inner.faults.version,
                inner.faults.login,
                inner.faults.subscription,
            )
        };
        match key {
            17 => {
                let properties = [&[0, 0, 0, 1], text("version").as_slice(), &text(version)].concat();
                self.send(write, &response(1, &properties)).await
            }
            18 => {
                let mechanisms = [&[0, 0, 0, 2], text("AMQPLAIN").as_slice(), &text("PLAIN")].concat();
                self.send(write, &response(1, &mechanisms)).await
            }
            19 => {
                self.hear(Heard::Login(String::from_utf8_lossy(&frame[19..]).into_owned()));
                self.send(write, &response(login, b"")).await?;
                if login == 1 {
                    self.send(write, &[0, 20, 0, 1, 0, 16, 0, 0, 0, 0, 0, 60]).await?;
                }
                Some(())
            }
            0x8014 => {
                self.hear(Heard::Tune(number(8, 4) as u32));
                Some(())
            }
            21 => self.send(write, &response(1, &[0, 0, 0, 0])).await,
            27 if version >= "3.11" => self.send(write, &response(1, &[0, 0, 0, 0])).await,
            28 if version >= "3.11" => {
                self.hear(Heard::Stats);
                let last = self
                    .inner
                    .lock()
                    .unwrap()
                    .chunks
                    .last()
                    .map_or(-1, |chunk| chunk.first as i64);
                let stats = [
                    &[0, 0, 0, 1],
                    text("committed_chunk_id").as_slice(),
                    &last.to_be_bytes(),
                ]
                .concat();
                self.send(write, &response(1, &stats)).await
            }
            7 => {
                let length = number(9, 2) as usize;
                let kind = number(11 + length, 2);
                let offset = (kind == 4).then(|| number(13 + length, 8));
                let after = if kind == 4 { 21 } else { 13 } + length;
                self.hear(Heard::Subscribe(frame[8], offset));
                self.send(write, &response(subscription, b"")).await?;
                if subscription != 1 {
                    return Some(());
                }
                self.inner.lock().unwrap().subscriptions += 1;
                subscriptions.push(Subscription {
                    id: frame[8],
                    next: self.begin(offset),
                    credit: number(after, 2) as u16,
                    all: number(after + 2, 4) > 0,
                });
                Some(())
            }
            9 => {
                self.hear(Heard::Credit(frame[4], number(5, 2) as u16));
                for subscription in subscriptions.iter_mut().filter(|known| known.id == frame[4]) {
                    subscription.credit += number(5, 2) as u16;
                }
                Some(())
            }
            12 => {
                self.hear(Heard::Unsubscribe(frame[8]));
                subscriptions.retain(|known| known.id != frame[8]);
                self.send(write, &response(1, b"")).await
            }
            15 => {
                let ports = self.inner.lock().unwrap().faults.elsewhere.clone();
                let mut answer = [
                    &[0x80, 15, 0, 1],
                    &frame[4..8],
                    &(ports.len() as u32).to_be_bytes(),
                ]
                .concat();
                for (reference, port) in ports.iter().enumerate() {
                    answer.extend_from_slice(&(reference as u16).to_be_bytes());
                    answer.extend_from_slice(&text("127.0.0.1"));
                    answer.extend_from_slice(&u32::from(*port).to_be_bytes());
                }
                answer.extend_from_slice(&[0, 0, 0, 1]);
                answer.extend_from_slice(&text(STREAM));
                answer.extend_from_slice(&[0, 1, 0, 0]);
                answer.extend_from_slice(&(ports.len() as u32).to_be_bytes());
                for reference in 0..ports.len() as u16 {
                    answer.extend_from_slice(&reference.to_be_bytes());
                }
                self.send(write, &answer).await
            }
            22 => {
                self.hear(Heard::Close);
                self.send(write, &response(1, b"")).await?;
                None
            }
            // A command that this version does not know ends the connection.
            _ => None,
        }
    }

    /// The first offset of the chunk where a subscription begins.
    fn begin(&self, offset: Option<u64>) -> u64 {
        let inner = self.inner.lock().unwrap();
        let end = inner.chunks.last().map_or(0, Chunk::next);
        let mut chunks = inner.chunks.iter();
        let chunk = match offset {
            Some(offset) => chunks.find(|chunk| chunk.next() > offset),
            None => chunks.rfind(|chunk| chunk.holds_messages()),
        };
        chunk.map_or(end, |chunk| chunk.first)
    }

    async fn deliver(
        &self,
        subscriptions: &mut [Subscription],
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Option<()> {
        for subscription in subscriptions {
            while subscription.credit > 0 {
                let Some((frame, next)) = self.next_chunk(subscription) else {
                    break;
                };
                subscription.next = next;
                if let Some(frame) = frame {
                    subscription.credit -= 1;
                    self.send(write, &frame).await?;
                }
            }
        }
        Some(())
    }

    /// The frame of the next chunk, if the subscription wants that one, and the offset after it.
    fn next_chunk(&self, subscription: &Subscription) -> Option<(Option<Vec<u8>>, u64)> {
        let mut inner = self.inner.lock().unwrap();
        if let Some(garbage) = inner.faults.garbage.take() {
            return Some((Some(garbage), subscription.next));
        }
        let chunk = inner
            .chunks
            .iter()
            .find(|chunk| chunk.first >= subscription.next)?
            .clone();
        let next = chunk.next();
        if !subscription.all && !chunk.holds_messages() {
            return Some((None, next));
        }
        let instead = inner
            .faults
            .instead
            .iter()
            .position(|other| other.first == chunk.first);
        let chunk = match instead {
            Some(place) => inner.faults.instead.remove(place),
            None => chunk,
        };
        let head: Vec<u8> = match inner.faults.version >= "3.11" {
            false => vec![0, 8, 0, 1, subscription.id],
            true => {
                let committed = inner.chunks.last().map_or(0, |chunk| chunk.first);
                [&[0, 8, 0, 2, subscription.id], committed.to_be_bytes().as_slice()].concat()
            }
        };
        Some((Some([head, chunk.bytes].concat()), next))
    }

    async fn send(&self, write: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Option<()> {
        {
            let inner = self.inner.lock().unwrap();
            if inner
                .faults
                .silent_after
                .is_some_and(|after| inner.subscriptions >= after)
            {
                return Some(());
            }
        }
        let bytes = [&(frame.len() as u32).to_be_bytes(), frame].concat();
        let budget = self.budget.load(Ordering::SeqCst);
        if budget >= 0 && (budget as usize) < bytes.len() {
            self.budget.store(-1, Ordering::SeqCst);
            let _ = write.write_all(&bytes[..budget as usize]).await;
            return None;
        }
        if budget >= 0 {
            self.budget.fetch_sub(bytes.len() as i64, Ordering::SeqCst);
        }
        write.write_all(&bytes).await.ok()?;
        write.flush().await.ok()
    }
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}
