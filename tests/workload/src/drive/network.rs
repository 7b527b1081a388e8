// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network: an address for it, pings, and a stream to a peer that is served by a peer of ours.

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::SocketAddrV4;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::SocketType;
use rustix::net::ipproto;
use rustix::net::sockopt;
use rustix::net::sockopt::Timeout;
use workload::Content;
use workload::Hash;
use workload::bytes;
use workload::devices::PING_BYTES;
use workload::devices::PINGS_AT_ONCE;
use workload::devices::STREAM_PORT;
use workload::devices::STREAM_WORDS;

use crate::drive::patience::Patience;
use crate::system::Child;

const INTERFACES: &str = "/sys/class/net";

/// Which groups of users may ping without further rights. At first it is none.
const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

// ICMP's types (RFC 792), and the size of a header: type, code, checksum, identifier, number.
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const HEADER: usize = 8;

/// After this long a ping is lost, on the machine's own clock.
const TIME_TO_ANSWER: Duration = Duration::from_secs(20);

/// How often somebody is asked who may not be there yet.
const PAUSE: Duration = Duration::from_secs(1);

/// Gives the first interface that virtio drives this address.
pub fn bring_up(address: Ipv4Addr) -> io::Result<()> {
    let mut interface = None;
    for entry in fs::read_dir(INTERFACES)? {
        let entry = entry?;
        let driver = fs::read_link(entry.path().join("device/driver"));
        if driver.is_ok_and(|driver| driver.ends_with("virtio_net")) {
            interface = Some(entry.file_name());
        }
    }
    let interface = interface.ok_or_else(|| io::Error::other("virtio drives no network interface"))?;
    let mut command = Command::new("ifconfig");
    command.arg(&interface).args([&address.to_string(), "netmask", "255.255.255.0", "up"]);
    let output = command.output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{}: {}", interface.display(), complaint.trim())));
    }
    fs::write(PING_GROUPS, "0 0")
}

/// Takes peers' streams in another process, which outlives this one, and answers each with its checksum.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, STREAM_PORT))?;
    Child::fork(|| {
        loop {
            let (mut peer, _) = listener.accept()?;
            let mut bytes = Vec::new();
            // A peer that goes away amid its stream does not end the service.
            if peer.read_to_end(&mut bytes).is_ok() {
                let mut hash = Hash::default();
                hash.take(&bytes);
                let _ = peer.write_all(&hash.value().to_le_bytes());
            }
        }
    })
    .map(drop)
}

/// Sends a stream, and sees whether it arrived as it was sent.
pub fn stream(peer: Ipv4Addr, patience: &Patience) -> io::Result<()> {
    patience.wait_for(format!("{peer} to take a stream"));
    let mut connection = loop {
        match TcpStream::connect((peer, STREAM_PORT)) {
            Ok(connection) => break connection,
            Err(_) => thread::sleep(PAUSE),
        }
    };
    let words = Content::of(peer.to_bits().into()).words(STREAM_WORDS);
    connection.write_all(&bytes(&words))?;
    connection.shutdown(Shutdown::Write)?;
    patience.wait_for(format!("{peer} to say what came of the stream"));
    let mut checksum = [0; 8];
    connection.read_exact(&mut checksum)?;
    if u64::from_le_bytes(checksum) != Hash::of(&words) {
        return Err(io::Error::other(format!("the stream to {peer} did not arrive as it was sent")));
    }
    println!("workload: stream to {peer}: {} bytes arrived", STREAM_WORDS * 8);
    Ok(())
}

/// Pings `peer` until it answers, and then so many times; all of these must come back, in order.
pub fn ping(peer: Ipv4Addr, count: u16, patience: &Patience) -> io::Result<()> {
    let socket = Pings::to(peer)?;
    patience.wait_for(format!("{peer} to answer a ping"));
    socket.time_out_after(PAUSE)?;
    while !socket.round_trip(0)? {}
    patience.wait_for(format!("{count} pings to {peer}"));
    socket.time_out_after(TIME_TO_ANSWER)?;
    let mut lost = Vec::new();
    for first in (1..=count).step_by(PINGS_AT_ONCE.into()) {
        let numbers = first..=count.min(first + (PINGS_AT_ONCE - 1));
        numbers.clone().try_for_each(|number| socket.send(number).map(drop))?;
        for number in numbers {
            if !socket.comes_back(number)? {
                lost.push(number);
            }
        }
    }
    let came = usize::from(count) - lost.len();
    println!("workload: pings to {peer}: {came} of {count} came back in order");
    if lost.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other(format!("pings to {peer} were lost: {lost:?}")))
    }
}

/// Pings to one peer. Linux numbers their source, and adds their checksums.
struct Pings {
    socket: OwnedFd,
    peer: SocketAddrV4,
}

impl Pings {
    fn to(peer: Ipv4Addr) -> io::Result<Self> {
        let socket = net::socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP))?;
        Ok(Self { socket, peer: SocketAddrV4::new(peer, 0) })
    }

    fn time_out_after(&self, time: Duration) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.socket, Timeout::Recv, Some(time))?)
    }

    /// Sends one and waits for it; `false` if it did not come back.
    fn round_trip(&self, number: u16) -> io::Result<bool> {
        if !self.send(number)? {
            thread::sleep(PAUSE);
            return Ok(false);
        }
        self.comes_back(number)
    }

    /// `false` if nobody was there to get it.
    fn send(&self, number: u16) -> io::Result<bool> {
        match net::sendto(&self.socket, &message(ECHO, number), SendFlags::empty(), &self.peer) {
            Ok(_) => Ok(true),
            Err(error) if is_absence(error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the next that comes back is this one; an older one, which was late, is passed over.
    fn comes_back(&self, number: u16) -> io::Result<bool> {
        let mut answer = vec![0; 2048];
        loop {
            let length = match net::recv(&self.socket, &mut answer, RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(error) if is_absence(error) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let seen = &answer[..length];
            if without_source(seen) == without_source(&message(ECHO_REPLY, number)) {
                return Ok(true);
            }
            let Some([high, low]) = seen.get(6..HEADER) else { return Ok(false) };
            if u16::from_be_bytes([*high, *low]) >= number {
                return Ok(false);
            }
        }
    }
}

/// A ping, or what comes back of it.
fn message(kind: u8, number: u16) -> Vec<u8> {
    let length = PING_BYTES[usize::from(number) % PING_BYTES.len()];
    let mut message = vec![kind, 0, 0, 0, 0, 0];
    message.extend(number.to_be_bytes());
    message.extend(bytes(&Content::of(number.into()).words(length.div_ceil(8))));
    message.truncate(HEADER + length);
    message
}

/// A message without what Linux put in: checksum and identifier.
fn without_source(message: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((message.get(..2)?, message.get(6..)?))
}

/// Nothing came in time, or nobody has the address.
fn is_absence(error: Errno) -> bool {
    [Errno::AGAIN, Errno::HOSTUNREACH, Errno::HOSTDOWN, Errno::INTR].contains(&error)
}
