//! A ring of packets that the kernel fills and we empty: AF_PACKET with TPACKET_V3 (Linux, `Documentation/networking/packet_mmap.rst`).
//!
//! The only file with `unsafe`: system calls that no kept library wraps, and the memory that is shared with the kernel. Whatever comes out of it is a
//! slice of bytes, and is read as such.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::filter::{Filter, Instruction};
use crate::listening::{Frame, Setup};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, netdevice, socket_with, sockopt};

/// A filter that lets nothing through.
const NOTHING: [Instruction; 1] = [Instruction { code: 0x06, jt: 0, jf: 0, k: 0 }];

/// A socket and its ring.
pub struct Ring {
    socket: Arc<OwnedFd>,
    map: NonNull<u8>,
    block: usize,
    blocks: usize,
    /// The block that the kernel fills next.
    next: usize,
    /// The interface that it is bound to.
    index: u32,
    promiscuous: bool,
}

// SAFETY: the map belongs to this value alone, and is reached through `&mut self` only.
unsafe impl Send for Ring {}

/// Where the kernel's header of a block says whose it is.
const STATUS: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, block_status);

impl Ring {
    /// Opens a ring on an interface, which the packets come into that a filter lets through. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// There is no such interface, no right, or no memory.
    pub fn open(name: &str, setup: &Setup, filter: &Filter) -> io::Result<Self> {
        // Without a protocol nothing comes until it is bound.
        let socket =
            socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None::<Protocol>)?;
        let index = netdevice::name_to_index(&socket, name)?;
        set(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as c_int))?;
        let request = libc::tpacket_req3 {
            tp_block_size: setup.block as u32,
            tp_block_nr: setup.blocks as u32,
            tp_frame_size: FRAME as u32,
            tp_frame_nr: (setup.block / FRAME * setup.blocks) as u32,
            tp_retire_blk_tov: setup.patience_ms,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let len = setup.block * setup.blocks;
        // SAFETY: a new mapping at an address of the kernel's choice, of the length that the ring was made with.
        let map = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        let map = match NonNull::new(map.cast::<u8>()) {
            Some(map) if map.as_ptr().cast() != libc::MAP_FAILED => map,
            _ => return Err(io::Error::last_os_error()),
        };
        let mut ring = Self {
            socket: Arc::new(socket),
            map,
            block: setup.block,
            blocks: setup.blocks,
            next: 0,
            index: 0,
            promiscuous: setup.promiscuous,
        };
        if !filter.0.is_empty() {
            ring.filter(&filter.0)?;
        }
        ring.bind(index)?;
        Ok(ring)
    }

    /// Binds it to an interface, also to one that took the place of the one before.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn bind(&mut self, index: u32) -> io::Result<()> {
        let mut address = zeroed_address();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as c_int;
        // SAFETY: `address` is a whole `sockaddr_ll` of the length that is given, and lives through the call.
        let done = unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                ptr::from_ref(&address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        // What is down is bound, and says so as its error: packets come when it is up.
        if done != 0 {
            let e = io::Error::last_os_error();
            if e.raw_os_error() != Some(libc::ENETDOWN) {
                return Err(e);
            }
        }
        if self.promiscuous {
            let member = libc::packet_mreq {
                mr_ifindex: index as c_int,
                mr_type: libc::PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            set(&self.socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &member)?;
        }
        // Whoever did not come so far tries it again.
        self.index = index;
        Ok(())
    }

    /// The number of the interface that has this name now.
    ///
    /// # Errors
    /// None has.
    pub fn index_of(&self, name: &str) -> io::Result<u32> {
        Ok(netdevice::name_to_index(&self.socket, name)?)
    }

    /// The socket: whoever has it keeps its number from being given to something else.
    pub fn socket(&self) -> Arc<OwnedFd> {
        self.socket.clone()
    }

    /// The number of the interface that it is bound to.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What is wrong with the socket since somebody asked last.
    pub fn trouble(&self) -> Option<io::Error> {
        match sockopt::socket_error(&self.socket) {
            Ok(Err(e)) | Err(e) => Some(e.into()),
            Ok(Ok(())) => None,
        }
    }

    /// The kind of the interface (`ARPHRD_…`).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kind(&self) -> io::Result<u16> {
        let mut address = zeroed_address();
        let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` has room for `len` bytes, and both live through the call.
        let done = unsafe {
            libc::getsockname(self.socket.as_raw_fd(), ptr::from_mut(&mut address).cast(), &raw mut len)
        };
        if done == 0 { Ok(address.sll_hatype) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether an interface is up.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn is_up(&self, name: &str) -> io::Result<bool> {
        // SAFETY: it is plain numbers, of which nothing is what all zeros say.
        let mut asked: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte ends the name.
        let room = asked.ifr_name.len() - 1;
        for (to, from) in asked.ifr_name[..room].iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        // SAFETY: `asked` is an `ifreq`, as this call takes and fills one, and lives through it.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut asked) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: that call fills in the flags.
        let flags = unsafe { asked.ifr_ifru.ifru_flags };
        Ok(c_int::from(flags) & libc::IFF_UP != 0)
    }

    /// Lets nothing more in: what is in the ring stays.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn close(&self) -> io::Result<()> {
        self.filter(&NOTHING)
    }

    fn filter(&self, program: &[Instruction]) -> io::Result<()> {
        let mut program: Vec<libc::sock_filter> =
            program.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // The kernel copies it within the call.
        let told = libc::sock_fprog { len, filter: program.as_mut_ptr() };
        set(&self.socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &told)
    }

    /// Packets that came in since somebody asked last, and how many of them found no room.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn statistics(&self) -> io::Result<(u64, u64)> {
        let mut told = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut len = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
        // SAFETY: `told` has room for `len` bytes, and both live through the call.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                ptr::from_mut(&mut told).cast::<c_void>(),
                &raw mut len,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((u64::from(told.tp_packets), u64::from(told.tp_drops)))
    }

    fn status(&self, block: usize) -> &AtomicU32 {
        // SAFETY: `block < self.blocks`, so that the header lies within the map, which is aligned to a page and lives as long as `self`. Kernel and
        // program agree on this word alone, and both by atomic operations.
        unsafe { AtomicU32::from_ptr(self.map.as_ptr().add(block * self.block + STATUS).cast()) }
    }

    /// How full it is, from 0 to 1: blocks that wait.
    pub fn fullness(&self) -> f64 {
        let waits = |n: &usize| {
            self.status((self.next + n) % self.blocks).load(Ordering::Relaxed) & libc::TP_STATUS_USER != 0
        };
        (0..self.blocks).take_while(waits).count() as f64 / self.blocks as f64
    }

    /// Empties the next block that is ready, packet by packet; `false` if none is.
    pub fn take(&mut self, mut each: impl FnMut(Frame<'_>)) -> bool {
        let at = self.next;
        if self.status(at).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: the block lies within the map, and the kernel leaves it alone until its status is given back below.
        let block = unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at * self.block), self.block) };
        frames(block, &mut each);
        self.status(at).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (at + 1) % self.blocks;
        true
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the map was made with this length, and nobody else has it.
        unsafe {
            libc::munmap(self.map.as_ptr().cast(), self.block * self.blocks);
        }
    }
}

/// What the kernel is told of the size of frames, which this version of the ring does not keep to: it has to divide a block.
const FRAME: usize = 2048;

/// Datagrams that found no room at a socket since it was opened (`SK_MEMINFO_DROPS` of `SO_MEMINFO`).
///
/// # Errors
/// The kernel is older than 4.12.
pub fn drops_of(socket: &OwnedFd) -> io::Result<u32> {
    /// Where they stand among the numbers (`linux/sock_diag.h`).
    const DROPS: usize = 8;
    let mut told = [0u32; DROPS + 1];
    let mut len = size_of_val(&told) as libc::socklen_t;
    // SAFETY: `told` has room for `len` bytes, and both live through the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            told.as_mut_ptr().cast::<c_void>(),
            &raw mut len,
        )
    };
    if done == 0 { Ok(told[DROPS]) } else { Err(io::Error::last_os_error()) }
}

fn zeroed_address() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn set<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is a whole `T` of the length that is given, and lives through the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads the packets of a block.
fn frames(block: &[u8], each: &mut impl FnMut(Frame<'_>)) {
    const HEAD: usize = offset_of!(libc::tpacket_block_desc, hdr);
    let count = word(block, HEAD + offset_of!(libc::tpacket_hdr_v1, num_pkts)).unwrap_or(0);
    let mut at =
        word(block, HEAD + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt)).unwrap_or(0) as usize;
    for _ in 0..count {
        let Some((frame, next)) = block.get(at..).and_then(frame) else { return };
        each(frame);
        if next == 0 {
            return;
        }
        at += next;
    }
}

/// The packet at the beginning of these bytes, and how far it is to the next.
fn frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    use libc::{tpacket_hdr_variant1 as Variant, tpacket3_hdr as Header};
    let field = |at: usize| word(bytes, at);
    let status = field(offset_of!(Header, tp_status))?;
    let from = usize::from(half(bytes, offset_of!(Header, tp_mac))?);
    let captured = field(offset_of!(Header, tp_snaplen))? as usize;
    let ns = i64::from(field(offset_of!(Header, tp_sec))?) * 1_000_000_000
        + i64::from(field(offset_of!(Header, tp_nsec))?);
    let tag = offset_of!(Header, hv1);
    let vlan = if status & libc::TP_STATUS_VLAN_VALID == 0 {
        None
    } else {
        let of = half(bytes, tag + offset_of!(Variant, tp_vlan_tpid))?;
        let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0 && of != 0;
        let contents = field(tag + offset_of!(Variant, tp_vlan_tci))? as u16;
        Some([if known { of } else { libc::ETH_P_8021Q as u16 }, contents])
    };
    // Behind the header, aligned, stands the address that it came from.
    let kind = bytes.get(
        libc::TPACKET3_HDRLEN - size_of::<libc::sockaddr_ll>() + offset_of!(libc::sockaddr_ll, sll_pkttype),
    )?;
    let frame = Frame {
        ns,
        original: field(offset_of!(Header, tp_len))?,
        vlan,
        outgoing: *kind == libc::PACKET_OUTGOING,
        link: None,
        bytes: bytes.get(from..from + captured)?,
    };
    Some((frame, field(offset_of!(Header, tp_next_offset))? as usize))
}
