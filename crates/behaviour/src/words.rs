//! The program's own words in what is kept in a file: grades, keys and names, which are constants in the code and texts in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One of the program's own words.
pub type Word = &'static str;

/// Words that a file may bring: many more than there are.
const MOST: usize = 4096;

/// Something with words in it, as it is read from a file.
pub trait Worded: Sized {
    /// The same with texts in their place.
    type Read: DeserializeOwned;
    /// Makes words of the texts; nothing where there are more than the program can have.
    fn of(read: Self::Read) -> Option<Self>;
}

impl Worded for Word {
    type Read = String;

    fn of(read: String) -> Option<Self> {
        static KNOWN: Mutex<BTreeSet<Word>> = Mutex::new(BTreeSet::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = known.get(read.as_str()) {
            return Some(word);
        }
        if known.len() >= MOST {
            return None;
        }
        let word: Word = Box::leak(read.into_boxed_str());
        known.insert(word);
        Some(word)
    }
}

impl Worded for (Word, u32) {
    type Read = (String, u32);

    fn of((word, n): Self::Read) -> Option<Self> {
        Some((Word::of(word)?, n))
    }
}

impl<T: Worded> Worded for Option<T> {
    type Read = Option<T::Read>;

    fn of(read: Self::Read) -> Option<Self> {
        read.map_or(Some(None), |read| T::of(read).map(Some))
    }
}

impl<T: Worded> Worded for Vec<T> {
    type Read = Vec<T::Read>;

    fn of(read: Self::Read) -> Option<Self> {
        read.into_iter().map(T::of).collect()
    }
}

impl Worded for BTreeSet<Word> {
    type Read = BTreeSet<String>;

    fn of(read: Self::Read) -> Option<Self> {
        read.into_iter().map(Word::of).collect()
    }
}

impl<T: DeserializeOwned> Worded for BTreeMap<Word, T> {
    type Read = BTreeMap<String, T>;

    fn of(read: Self::Read) -> Option<Self> {
        read.into_iter().map(|(word, of)| Some((Word::of(word)?, of))).collect()
    }
}

impl Worded for BTreeMap<(IpAddr, u16), Vec<Word>> {
    type Read = BTreeMap<(IpAddr, u16), Vec<String>>;

    fn of(read: Self::Read) -> Option<Self> {
        read.into_iter().map(|(key, words)| Some((key, Vec::of(words)?))).collect()
    }
}

/// For `serde(with)`.
pub fn serialize<T: Serialize, S: Serializer>(words: &T, serializer: S) -> Result<S::Ok, S::Error> {
    words.serialize(serializer)
}

/// For `serde(with)`.
pub fn deserialize<'de, T: Worded, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::of(T::Read::deserialize(deserializer)?)
        .ok_or_else(|| D::Error::custom("too many words that are not the program's"))
}
