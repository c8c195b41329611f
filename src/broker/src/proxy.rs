//! A network between a client and a broker: a port on loopback that passes on what arrives, and can be told not to.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(5);
const BLOCK: usize = 64 << 10;

/// What the network does with what is sent through it, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It passes on.
    Good,
    /// It takes bytes, as far as buffers go, and delivers none; connections stay open, new ones are accepted.
    Stalled,
    /// It passes on each block of up to 64 KB after this time; that bounds the rate as well.
    Slow(Duration),
    /// It passes on at most so many bytes a second, in each direction of each connection.
    Narrow(u32),
    /// It refuses connections; those that are open stay.
    Refusing,
}

struct State {
    network: Network,
    connections: Vec<TcpStream>,
    accepted: usize,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The port. Dropping it cuts everything.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A good network to `target` on loopback.
    ///
    /// # Errors
    /// No port is free.
    pub fn to(target: u16) -> io::Result<Self> {
        let listener = listen(0)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                network: Network::Good,
                connections: Vec::new(),
                accepted: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(listener, port, target)
        });
        Ok(Self {
            port,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.lock().accepted
    }

    /// From now on the network is like this.
    pub fn becomes(&self, network: Network) {
        self.shared.lock().network = network;
        self.shared.changed.notify_all();
    }

    /// Ends all connections; new ones are taken as before.
    pub fn cut(&self) {
        self.shared.lock().cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(accepting) = self.accepting.take() {
            // A thread that panicked has said so.
            let _ = accepting.join();
        }
    }
}

impl State {
    fn cut(&mut self) {
        for connection in self.connections.drain(..) {
            // It may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: TcpListener, port: u16, target: u16) {
        let mut listener = Some(listener);
        loop {
            let (network, ended) = {
                let state = self.lock();
                (state.network, state.ended)
            };
            if ended {
                return;
            }
            listener = match network {
                Network::Refusing => None,
                _ => listener.or_else(|| listen(port).ok()),
            };
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) => {
                    // Where the broker is not there, the client's connection ends.
                    let _ = self.connect(client, target);
                }
                _ => thread::sleep(POLL),
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream, target: u16) -> io::Result<()> {
        client.set_nonblocking(false)?;
        let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, target))?;
        for end in [&client, &broker] {
            end.set_nodelay(true)?;
        }
        let mut state = self.lock();
        state.accepted += 1;
        state
            .connections
            .extend([client.try_clone()?, broker.try_clone()?]);
        drop(state);
        for (from, to) in [(client.try_clone()?, broker.try_clone()?), (broker, client)] {
            let shared = Arc::clone(self);
            thread::spawn(move || shared.pass(from, to));
        }
        Ok(())
    }

    /// Passes on until one end closes.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut block = vec![0; BLOCK];
        while let Ok(count @ 1..) = from.read(&mut block) {
            if !self.permits(count) || to.write_all(&block[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Read);
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits until the network takes `count` bytes; not if it is ended.
    fn permits(&self, count: usize) -> bool {
        let mut state = self.lock();
        while state.network == Network::Stalled && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (network, ended) = (state.network, state.ended);
        drop(state);
        match network {
            Network::Slow(time) => thread::sleep(time),
            Network::Narrow(rate) => {
                thread::sleep(Duration::from_secs_f64(count as f64 / f64::from(rate.max(1))))
            }
            Network::Good | Network::Stalled | Network::Refusing => {}
        }
        !ended
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
