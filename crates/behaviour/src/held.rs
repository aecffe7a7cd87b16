//! How much memory hangs on what is remembered, so that one budget can hold it all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use record::{
    Conn, Evidence, FactValue, FlowId, Grade, Http, Mac, PacketId, PayloadFacts, Role, Service, Stage,
    Timestamp, Transport,
};

/// What an entry of an ordered map costs beside its content, in nodes that are two thirds full (*assumed*).
const NODE: usize = 16;

/// What so many entries of a hashed table cost: a byte each beside them, and two thirds of the places in use. Counted by entries, because how many places
/// there are may depend on the seed of the hash, and what is forgotten must not.
const fn hashed(entries: usize, size: usize) -> usize {
    entries * (size + 1) * 3 / 2
}

/// Knows the memory that hangs on it.
pub trait Held {
    /// Bytes on the heap, about.
    fn held(&self) -> usize {
        0
    }
}

/// Says of types on which of their fields memory hangs; of those without any that none does.
#[macro_export]
macro_rules! held {
    ($($name:ty),* $(,)?) => { $(impl $crate::Held for $name {})* };
    ($name:ty: $($field:tt),+) => {
        impl $crate::Held for $name {
            fn held(&self) -> usize {
                0 $(+ $crate::Held::held(&self.$field))+
            }
        }
    };
}

held!(
    bool,
    u8,
    u16,
    u32,
    u64,
    i32,
    i64,
    usize,
    f64,
    IpAddr,
    &'static str,
    Timestamp,
    FlowId,
    PacketId,
    Mac,
    Transport,
    Service,
    Stage,
    Role,
    PayloadFacts,
    Grade,
    [i32; 2],
    [u64; 2],
    [Timestamp; 2]
);

held!(crate::table::HostKey);

impl Held for String {
    fn held(&self) -> usize {
        self.capacity()
    }
}

impl Held for Cow<'static, str> {
    fn held(&self) -> usize {
        match self {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.capacity(),
        }
    }
}

impl<T: Held> Held for Option<T> {
    fn held(&self) -> usize {
        self.as_ref().map_or(0, Held::held)
    }
}

impl<T: Held> Held for Box<T> {
    fn held(&self) -> usize {
        size_of::<T>() + (**self).held()
    }
}

impl<T: Held> Held for Vec<T> {
    fn held(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(Held::held).sum::<usize>()
    }
}

impl<T: Held> Held for VecDeque<T> {
    fn held(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(Held::held).sum::<usize>()
    }
}

impl<K: Held, V: Held> Held for BTreeMap<K, V> {
    fn held(&self) -> usize {
        let content: usize = self.iter().map(|(k, v)| k.held() + v.held()).sum();
        self.len() * (size_of::<(K, V)>() * 3 / 2 + NODE) + content
    }
}

impl<K: Held> Held for BTreeSet<K> {
    fn held(&self) -> usize {
        self.len() * (size_of::<K>() * 3 / 2 + NODE) + self.iter().map(Held::held).sum::<usize>()
    }
}

impl<K: Held, V: Held, S> Held for HashMap<K, V, S> {
    fn held(&self) -> usize {
        let content: usize = self.iter().map(|(k, v)| k.held() + v.held()).sum();
        hashed(self.len(), size_of::<(K, V)>()) + content
    }
}

impl<K: Held, S> Held for HashSet<K, S> {
    fn held(&self) -> usize {
        hashed(self.len(), size_of::<K>()) + self.iter().map(Held::held).sum::<usize>()
    }
}

impl Held for () {}

macro_rules! tuples {
    ($(($($name:ident $at:tt),+);)*) => {
        $(impl<$($name: Held),+> Held for ($($name,)+) {
            fn held(&self) -> usize {
                0 $(+ self.$at.held())+
            }
        })*
    };
}

tuples! {
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
}

impl Held for FactValue {
    fn held(&self) -> usize {
        match self {
            Self::Text(text) => text.held(),
            Self::List(all) => all.held(),
            _ => 0,
        }
    }
}

held!(Evidence: key, grades, packets, flows, community_ids, remotes, facts, expected);

/// A flow that waits: what hangs on it is little beside itself.
impl Held for Conn {
    fn held(&self) -> usize {
        self.beats.capacity() * size_of::<record::Beat>()
    }
}

impl Held for Http {
    fn held(&self) -> usize {
        let texts = [Some(&self.method), Some(&self.path), self.host.as_ref(), self.user_agent.as_ref()];
        texts.into_iter().flatten().map(Held::held).sum::<usize>() + self.packets.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_on_things() {
        assert_eq!(Held::held(&7u64), 0);
        assert_eq!(vec![0u64; 10].held(), 80);
        let names: Vec<String> = vec!["a".repeat(100), "b".repeat(50)];
        assert_eq!(names.held(), 150 + names.capacity() * size_of::<String>());
        let map: BTreeMap<u64, Vec<u64>> = (0..10).map(|i| (i, vec![i; 100])).collect();
        assert!((8_000..10_000).contains(&map.held()), "{}", map.held());
        assert_eq!(Some(Box::new([0u64; 2])).held(), 16);
    }
}
