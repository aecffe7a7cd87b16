//! One table of hosts: what each behaviour remembers of a host stands in that host's file.

use std::any::Any;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use record::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::CATALOGUE;
use crate::context::{Fired, NearMisses};
use crate::held::Held;
use crate::network::KnownHost;
use crate::table::{HostKey, SeededMap};

/// What a file costs besides what hangs on it: itself, its places in the tables, and its part of what the network knows (*assumed*).
const BASE: usize = 2 << 10;
/// A file is weighed again when it was opened a quarter as often as until then, at the latest after so many times.
const WEIGHED: u32 = 1024;

/// A host's day, from its first packet on.
const DAY: Duration = Duration::from_hours(24);

/// What a behaviour remembers of one host; how much memory it holds is measured, and it can be kept in a file.
pub trait HostState: Held + Default + Serialize + DeserializeOwned + Send + 'static {
    /// Another day of the host begins: what was reported on the one before may be reported again.
    fn turn_day(&mut self) {}
}

impl HostState for () {}

/// The same, whichever it is.
trait AnyState: Any + Send {
    /// Bytes, with all that hangs on it.
    fn held(&self) -> usize;
    /// See [`HostState::turn_day`].
    fn turn_day(&mut self);
    /// As it is kept in a file.
    fn save(&self) -> Result<Vec<u8>, postcard::Error>;
}

impl<T: HostState> AnyState for T {
    fn held(&self) -> usize {
        size_of::<T>() + Held::held(self)
    }

    fn turn_day(&mut self) {
        HostState::turn_day(self);
    }

    fn save(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }
}

/// Why something cannot be written down, or read back.
#[derive(Debug, thiserror::Error)]
pub enum WriteDownError {
    /// It has no form, or another one.
    #[error("it has another form: {0}")]
    Form(#[from] postcard::Error),
    /// It could not be written or read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Writes something down: its length, then itself.
///
/// # Errors
/// `out` takes no more, or it is nothing that can be written.
pub fn write_down(what: &impl Serialize, out: &mut dyn Write) -> Result<(), WriteDownError> {
    let bytes = postcard::to_stdvec(what)?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    Ok(out.write_all(&bytes)?)
}

/// Reads back what was written down next.
///
/// # Errors
/// It is something else, or ends early.
pub fn read_back<T: DeserializeOwned>(from: &mut dyn Read) -> Result<T, WriteDownError> {
    let mut len = [0; 8];
    from.read_exact(&mut len)?;
    let mut bytes = Vec::new();
    let len = u64::from_le_bytes(len);
    if from.take(len).read_to_end(&mut bytes)? as u64 != len {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(postcard::from_bytes(&bytes)?)
}

/// How a state is read back.
type ReadState = fn(&[u8]) -> Result<Box<dyn AnyState>, postcard::Error>;

/// What stands in one place of the files: its name where it is kept, and how it is read back.
#[derive(Clone, Copy, Debug)]
pub struct StateKind {
    name: &'static str,
    size: usize,
    read: ReadState,
}

impl StateKind {
    /// States of this type, under this name.
    pub const fn of<T: HostState>(name: &'static str) -> Self {
        Self { name, size: size_of::<T>(), read: |bytes| Ok(Box::new(postcard::from_bytes::<T>(bytes)?)) }
    }
}

/// A host's file as it is kept: its states by name.
#[derive(Serialize, Deserialize)]
pub struct SavedFile<'a> {
    host: IpAddr,
    card: ByteBuf,
    seen: Timestamp,
    day_ends: Timestamp,
    evidence: Option<i32>,
    states: Vec<(Cow<'a, str>, ByteBuf)>,
    waiting: Vec<Cow<'a, str>>,
    weight: usize,
    opened: u32,
    weighed_at: u32,
}

/// Places in a host's file: of the behaviours, and behind them of whoever else keeps something of hosts.
const SLOTS: usize = 64;

/// The first of all addresses, and the last.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

/// What anybody may ask of a host: it stands in front of what each behaviour remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Card {
    /// What fired so far.
    pub fired: Fired,
    /// How near it came to what did not.
    pub near: NearMisses,
    /// What it is called, asks for and runs.
    pub known: KnownHost,
}

crate::held!(Card: fired, near, known);

/// What is known of one host.
struct HostFile {
    host: IpAddr,
    card: Card,
    seen: Timestamp,
    /// When its day ends.
    day_ends: Timestamp,
    /// How much speaks against it, where anything fired: it is forgotten last.
    evidence: Option<i32>,
    /// What is remembered; a host has a handful of them.
    states: Vec<Box<dyn AnyState>>,
    /// Where each behaviour's stands among them, plus one.
    places: [u8; SLOTS],
    /// Bytes when it was weighed last; how often it was opened, and at which time it is weighed again.
    weight: usize,
    opened: u32,
    weighed_at: u32,
}

impl HostFile {
    /// Begins the day in which `now` lies.
    #[cold]
    fn turn_days(&mut self, now: Timestamp) {
        self.states.iter_mut().for_each(|s| s.turn_day());
        let days = (now.since(self.day_ends).as_secs() / DAY.as_secs() + 1) as u32;
        self.day_ends = self.day_ends.plus(DAY * days);
    }
}

/// The files of all hosts, within so many bytes: those silent longest and without evidence are forgotten first, those with most evidence last.
#[derive(Default)]
pub struct HostFiles {
    places: SeededMap<HostKey, u32>,
    files: Vec<HostFile>,
    /// Bytes that they may hold, and those that they do.
    most: usize,
    bytes: usize,
    forgotten: u64,
    /// The host that was asked for last, and its place: a record asks for one host many times.
    last: Option<(IpAddr, u32)>,
    forgotten_with_evidence: u64,
    /// Hosts of which a behaviour has something to decide when time has passed.
    waiting: BTreeSet<(u8, IpAddr)>,
}

impl HostFiles {
    /// The first place that is no behaviour's.
    pub const BESIDE: u8 = 60;

    /// Bytes that they hold.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// May hold `most` bytes from now on; what is beyond goes when a file is weighed next.
    pub const fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Keeps files of at most `most` bytes, and at least one.
    pub fn new(most: usize) -> Self {
        Self {
            places: SeededMap::default(),
            files: Vec::new(),
            most,
            bytes: 0,
            forgotten: 0,
            last: None,
            forgotten_with_evidence: 0,
            waiting: BTreeSet::new(),
        }
    }

    #[inline]
    fn place(&self, host: IpAddr) -> Option<u32> {
        match self.last {
            Some((last, place)) if last == host => Some(place),
            _ => self.places.get(&HostKey(host)).copied(),
        }
    }

    /// The file of a host, made if it was not there.
    #[inline]
    fn open(&mut self, host: IpAddr, now: Timestamp) -> &mut HostFile {
        let mut place = if let Some(place) = self.place(host) { place } else { self.begin(host, now) };
        let file = &mut self.files[place as usize];
        file.opened = file.opened.wrapping_add(1);
        if file.opened >= file.weighed_at {
            place = self.weigh(place);
        }
        self.last = Some((host, place));
        let file = &mut self.files[place as usize];
        file.seen = file.seen.max(now);
        if now >= file.day_ends {
            file.turn_days(now);
        }
        file
    }

    #[cold]
    fn begin(&mut self, host: IpAddr, now: Timestamp) -> u32 {
        let place = self.files.len() as u32;
        self.places.insert(HostKey(host), place);
        self.files.push(HostFile {
            host,
            card: Card::default(),
            seen: now,
            day_ends: now.plus(DAY),
            evidence: None,
            states: Vec::new(),
            places: [0; SLOTS],
            weight: BASE,
            opened: 0,
            weighed_at: 1,
        });
        self.bytes += BASE;
        place
    }

    /// Weighs a file, with a quarter for what the allocator rounds up and what comes until it is weighed again; makes room where there is none, and
    /// gives the file's place then.
    #[cold]
    fn weigh(&mut self, place: u32) -> u32 {
        let file = &mut self.files[place as usize];
        let held = file.card.held() + file.states.iter().map(|s| s.held()).sum::<usize>();
        file.weighed_at = file.opened.saturating_add((file.opened / 4 + 2).min(WEIGHED));
        let old = std::mem::replace(&mut file.weight, BASE + held / 4 * 5);
        self.bytes = self.bytes - old + file.weight;
        if self.bytes > self.most { self.forget(place) } else { place }
    }

    /// Takes out the file of a host: what stands in it is somebody else's from now on.
    pub fn close(&mut self, host: IpAddr) {
        self.take_out(host);
    }

    /// Takes a file out; the last of them takes its place.
    fn take_out(&mut self, host: IpAddr) -> Option<HostFile> {
        let place = self.places.remove(&HostKey(host))?;
        let file = self.files.swap_remove(place as usize);
        if let Some(moved) = self.files.get(place as usize) {
            self.places.insert(HostKey(moved.host), place);
        }
        self.bytes -= file.weight;
        self.last = None;
        Some(file)
    }

    /// What anybody may ask of a host, if there is a file of it.
    pub fn card(&self, host: IpAddr) -> Option<&Card> {
        Some(&self.files[self.place(host)? as usize].card)
    }

    /// The same, made if it was not there, to be changed.
    #[inline]
    pub fn card_mut(&mut self, host: IpAddr, now: Timestamp) -> &mut Card {
        &mut self.open(host, now).card
    }

    /// Evidence was told of a host, against which so much speaks now (tenths of decibans).
    pub fn accuse(&mut self, host: IpAddr, now: Timestamp, strength: i32) {
        let file = self.open(host, now);
        file.evidence = file.evidence.max(Some(strength));
    }

    /// Hosts that were forgotten for want of memory.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// So many hosts were forgotten before, and of so many of them something had fired.
    pub const fn have_forgotten(&mut self, hosts: u64, with_evidence: u64) {
        (self.forgotten, self.forgotten_with_evidence) = (hosts, with_evidence);
    }

    /// Those of them of which something had fired.
    pub const fn forgotten_with_evidence(&self) -> u64 {
        self.forgotten_with_evidence
    }

    /// Hosts with a file.
    pub const fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no host has one.
    pub const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether there is a file of a host.
    pub fn knows(&self, host: IpAddr) -> bool {
        self.place(host).is_some()
    }

    /// What stands in a place of a host's file.
    pub fn get<T: HostState>(&self, place: u8, host: IpAddr) -> Option<&T> {
        let file = &self.files[self.place(host)? as usize];
        let at = usize::from(file.places[usize::from(place)]).checked_sub(1)?;
        let state: &dyn Any = file.states[at].as_ref();
        state.downcast_ref()
    }

    /// Every host with something in one of the places, in the order of addresses.
    pub fn hosts(&self, places: &[u8]) -> Vec<IpAddr> {
        let has = |f: &&HostFile| places.iter().any(|place| f.places[usize::from(*place)] > 0);
        let mut all: Vec<IpAddr> = self.files.iter().filter(has).map(|f| f.host).collect();
        all.sort_unstable();
        all
    }

    /// Forgets an eighth of all bytes, but never the file at `open`, whose place then it gives: first those without evidence, then those with
    /// least; of equals the longest silent first, and then by address, so that every run forgets the same.
    fn forget(&mut self, open: u32) -> u32 {
        let open = self.files[open as usize].host;
        let mut weakest: Vec<_> =
            self.files.iter().filter(|f| f.host != open).map(|f| ((f.evidence, f.seen), f.host)).collect();
        weakest.sort_unstable_by_key(|(strength, host)| (*strength, Reverse(*host)));
        for (_, host) in weakest {
            if self.bytes <= self.most - self.most / 8 {
                break;
            }
            if let Some(file) = self.take_out(host) {
                self.forgotten += 1;
                self.forgotten_with_evidence += u64::from(file.evidence.is_some());
            }
        }
        self.places[&HostKey(open)]
    }

    /// Every file as it is kept, in no order. `beside` says what stands in the places behind the behaviours'.
    ///
    /// # Errors
    /// Something in it cannot be written.
    pub fn save<'a>(
        &'a self,
        beside: &'a [StateKind],
    ) -> impl Iterator<Item = Result<SavedFile<'static>, postcard::Error>> + 'a {
        let name = |place: usize| kind(beside, place).map_or("", |k| k.name);
        self.files.iter().map(move |file| {
            let mut states = Vec::new();
            for (place, at) in file.places.iter().enumerate() {
                if let Some(at) = usize::from(*at).checked_sub(1) {
                    states.push((Cow::Borrowed(name(place)), ByteBuf::from(file.states[at].save()?)));
                }
            }
            let places = 0..SLOTS as u8;
            let waits = places.filter(|place| self.waiting.contains(&(*place, file.host)));
            Ok(SavedFile {
                host: file.host,
                card: ByteBuf::from(postcard::to_stdvec(&file.card)?),
                seen: file.seen,
                day_ends: file.day_ends,
                evidence: file.evidence,
                states,
                waiting: waits.map(|place| Cow::Borrowed(name(usize::from(place)))).collect(),
                weight: file.weight,
                opened: file.opened,
                weighed_at: file.weighed_at,
            })
        })
    }

    /// Takes a file that was kept. What nobody knows by its name any more is left out.
    ///
    /// # Errors
    /// It is none.
    pub fn restore(&mut self, saved: &SavedFile<'_>, beside: &[StateKind]) -> Result<(), postcard::Error> {
        let place = |name: &str| (0..SLOTS).find(|at| kind(beside, *at).is_some_and(|k| k.name == name));
        let at = self.begin(saved.host, saved.seen) as usize;
        let file = &mut self.files[at];
        file.card = postcard::from_bytes(&saved.card)?;
        (file.day_ends, file.evidence) = (saved.day_ends, saved.evidence);
        (file.opened, file.weighed_at) = (saved.opened, saved.weighed_at);
        self.bytes = self.bytes - file.weight + saved.weight;
        file.weight = saved.weight;
        for (name, bytes) in &saved.states {
            if let Some(place) = place(name)
                && let Some(kind) = kind(beside, place)
            {
                file.states.push((kind.read)(bytes)?);
                file.places[place] = file.states.len() as u8;
            }
        }
        self.waiting.extend(saved.waiting.iter().filter_map(|name| Some((place(name)? as u8, saved.host))));
        Ok(())
    }

    /// What one behaviour remembers of hosts, by its place in the catalogue.
    pub fn states<T: HostState>(&mut self, behaviour: u8) -> States<'_, T> {
        States { files: self, behaviour, of: PhantomData }
    }
}

/// What tells the form of states from that of other versions: the name and size of each, in order.
pub fn form(beside: &[StateKind]) -> String {
    let kinds = (0..SLOTS).filter_map(|place| kind(beside, place)).map(|k| (k.name, k.size));
    let all = std::iter::once(("card", size_of::<Card>())).chain(kinds);
    all.map(|(name, size)| format!("{name} {size}")).collect::<Vec<_>>().join(", ")
}

/// What stands in a place.
fn kind(beside: &[StateKind], place: usize) -> Option<StateKind> {
    let behind = usize::from(HostFiles::BESIDE);
    match place.checked_sub(behind) {
        Some(at) => beside.get(at).copied(),
        None => CATALOGUE.get(place).map(|entry| entry.state),
    }
}

/// What one behaviour remembers of hosts.
pub struct States<'a, T> {
    files: &'a mut HostFiles,
    behaviour: u8,
    of: PhantomData<T>,
}

impl<T: HostState> States<'_, T> {
    /// The state of a host, made if it was not there.
    ///
    /// # Panics
    /// Never: a place holds the state of one behaviour, which has one type.
    pub fn of(&mut self, host: IpAddr, now: Timestamp) -> &mut T {
        self.open(host, now).0
    }

    /// The same, with what anybody may ask of the host.
    ///
    /// # Panics
    /// Never: a place holds the state of one behaviour, which has one type.
    pub fn open(&mut self, host: IpAddr, now: Timestamp) -> (&mut T, &Card) {
        let file = self.files.open(host, now);
        let place = &mut file.places[usize::from(self.behaviour)];
        if *place == 0 {
            file.states.push(Box::<T>::default());
            *place = file.states.len() as u8;
        }
        let state: &mut dyn Any = file.states[usize::from(*place) - 1].as_mut();
        match state.downcast_mut() {
            Some(state) => (state, &file.card),
            None => unreachable!("a place holds the state of one behaviour"),
        }
    }

    /// What anybody may ask of a host, if there is a file of it.
    pub fn card(&self, host: IpAddr) -> Option<&Card> {
        self.files.card(host)
    }

    /// The state of a host, if it is there.
    pub fn get(&self, host: IpAddr) -> Option<&T> {
        self.files.get(self.behaviour, host)
    }

    /// Something of a host is to be decided when time has passed.
    pub fn wait(&mut self, host: IpAddr) {
        self.files.waiting.insert((self.behaviour, host));
    }

    /// Shows every host that waits, in the order of addresses; those go on to wait of which `waits` says so.
    pub fn decide(&mut self, mut waits: impl FnMut(IpAddr, &mut T, &Card) -> bool) {
        let mine = (self.behaviour, FIRST)..=(self.behaviour, LAST);
        let hosts: Vec<IpAddr> = self.files.waiting.range(mine).map(|(_, host)| *host).collect();
        for host in hosts {
            if !self.open_mut(host).is_some_and(|(state, card)| waits(host, state, card)) {
                self.files.waiting.remove(&(self.behaviour, host));
            }
        }
    }

    /// The state of a host, if it is there, to be changed.
    pub fn get_mut(&mut self, host: IpAddr) -> Option<&mut T> {
        self.open_mut(host).map(|(state, _)| state)
    }

    fn open_mut(&mut self, host: IpAddr) -> Option<(&mut T, &Card)> {
        let place = self.files.place(host)?;
        let file = &mut self.files.files[place as usize];
        let at = usize::from(file.places[usize::from(self.behaviour)]).checked_sub(1)?;
        let state: &mut dyn Any = file.states[at].as_mut();
        Some((state.downcast_mut()?, &file.card))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HostState for u32 {
        fn turn_day(&mut self) {
            *self = 0;
        }
    }
    impl HostState for String {}
    impl HostState for Vec<u64> {}

    fn host(i: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, i])
    }

    fn at(secs: u8) -> Timestamp {
        Timestamp::from_secs(i64::from(secs))
    }

    #[test]
    fn each_behaviour_has_a_state_of_its_own() {
        assert!(crate::CATALOGUE.len() <= usize::from(HostFiles::BESIDE));
        let mut files = HostFiles::new(16);
        *files.states::<u32>(1).of(host(1), at(1)) += 7;
        files.states::<String>(2).of(host(1), at(1)).push('x');
        assert_eq!(files.states::<u32>(1).get(host(1)), Some(&7));
        assert_eq!(files.states::<String>(2).get_mut(host(1)).cloned(), Some("x".to_owned()));
        assert_eq!(files.states::<u32>(1).get(host(2)), None);
        assert_eq!(files.states::<u32>(3).get(host(1)), None);
        assert_eq!(files.files.len(), 1, "one file");
    }

    #[test]
    fn the_longest_silent_without_evidence_is_forgotten_first() {
        let mut files = HostFiles::new(16 * BASE);
        for i in 0..100 {
            *files.states::<u32>(1).of(host(i), at(i)) += u32::from(i);
            if i == 3 {
                files.accuse(host(3), at(3), 0);
            }
            assert!(files.bytes <= 17 * BASE);
        }
        let states = files.states::<u32>(1);
        assert_eq!((states.get(host(3)), states.get(host(99))), (Some(&3), Some(&99)));
        assert_eq!(states.get(host(1)), None);
        assert!(files.forgotten() >= 84);
    }

    #[test]
    fn hosts_with_evidence_are_forgotten_too_where_there_are_only_such() {
        let mut files = HostFiles::new(16 * BASE);
        for i in 0..40 {
            files.accuse(host(i), at(i), if i == 5 { 900 } else { 10 });
            assert!(files.bytes <= 17 * BASE);
        }
        assert!(files.place(host(39)).is_some() && files.place(host(0)).is_none());
        assert!(files.place(host(5)).is_some(), "the strongest stays");
        assert_eq!(files.forgotten_with_evidence(), files.forgotten());
    }

    #[test]
    fn days_turn_once_and_for_every_behaviour() {
        let mut files = HostFiles::new(1 << 20);
        let hour = |h: i64| Timestamp::from_secs(3600 * h);
        for behaviour in 1..3 {
            *files.states::<u32>(behaviour).of(host(1), hour(5)) += 1;
        }
        assert_eq!(*files.states::<u32>(1).of(host(1), hour(28)), 1);
        assert_eq!(*files.states::<u32>(1).of(host(1), hour(29)), 0);
        *files.states::<u32>(1).of(host(1), hour(30)) += 1;
        assert_eq!(files.states::<u32>(2).get(host(1)), Some(&0));
        assert_eq!(*files.states::<u32>(1).of(host(1), hour(52)), 1, "the same day");
        assert_eq!(*files.states::<u32>(1).of(host(1), hour(200)), 0, "days later");
        assert_eq!(files.files[0].day_ends, hour(221));
    }

    #[test]
    fn what_anybody_may_ask_of_a_host_is_weighed_kept_and_forgotten_with_it() {
        let mut files = HostFiles::new(1 << 20);
        let mut network = crate::Network::new(crate::Home::private(), 16);
        for i in 0..300 {
            let question = crate::testing::dns(1.0, &format!("n{i}.example"), 15, 0, None);
            network.learn(&question, &mut files, at(1));
        }
        let asked = |files: &HostFiles| {
            let card = files.card(crate::testing::HOST.parse().unwrap());
            card.is_some_and(|card| card.known.asked_mx(at(9), DAY))
        };
        assert!(asked(&files) && files.bytes > BASE + 300 * 24, "{}", files.bytes);
        let mut again = HostFiles::new(1 << 20);
        for saved in files.save(&[]) {
            again.restore(&saved.unwrap(), &[]).unwrap();
        }
        assert!(asked(&again) && again.bytes == files.bytes);
        files.close(crate::testing::HOST.parse().unwrap());
        assert!(!asked(&files) && files.bytes == 0);
    }

    #[test]
    fn a_closed_file_is_gone_and_the_others_stay() {
        let mut files = HostFiles::new(1 << 20);
        for i in 0..5 {
            *files.states::<u32>(1).of(host(i), at(1)) += u32::from(i);
        }
        files.close(host(1));
        files.close(host(9));
        assert!(!files.knows(host(1)));
        for i in [0, 2, 3, 4] {
            assert_eq!(files.states::<u32>(1).get(host(i)), Some(&u32::from(i)));
        }
        assert_eq!(files.bytes, files.files.iter().map(|f| f.weight).sum::<usize>());
        assert_eq!(*files.states::<u32>(1).of(host(1), at(2)), 0, "another host");
    }

    #[test]
    fn what_hangs_on_a_host_is_weighed() {
        let mut files = HostFiles::new(64 * BASE);
        for round in 0..64 {
            for i in 0..8 {
                files.states::<Vec<u64>>(1).of(host(i), at(round)).extend([0; 512]);
            }
        }
        let held: usize = files.files.iter().map(|f| f.states.iter().map(|s| s.held()).sum::<usize>()).sum();
        assert!(held <= 64 * BASE * 5 / 4, "{held} bytes of {} hosts", files.files.len());
        assert!(files.forgotten() > 0);
    }
}
