//! Names and passwords: a file as Apache's `htpasswd -B` writes it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;
use futures_util::future::join;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// What tells the operator something.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// How long somebody waits for others' passwords to be tried (*assumed*).
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a try takes at least, whoever is named and whatever it costs: three guesses a second (*assumed*).
const LEAST: Duration = Duration::from_millis(300);
/// What passwords may cost: fewer than 2^4 rounds bcrypt does not do, 2^14 take more than a second.
const COSTS: RangeInclusive<u32> = 4..=14;
/// Answers that are remembered; then it is asked anew.
const MOST: usize = 1_000;
/// So many refusals between two that are told, after the first.
const TOLD: u64 = 100;

/// Who has asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Is(String),
    Nobody,
    /// Others are being asked.
    Later,
}

/// The users of a console.
pub struct Users {
    /// What is kept of the password of each.
    by_name: BTreeMap<String, String>,
    /// Tried for names that nobody has, so that they take as long.
    stranger: String,
    /// Who has shown a password, by a hash of it with this salt.
    salt: [u8; 16],
    known: Mutex<HashMap<[u8; 32], String>>,
    /// Passwords are tried one at a time: guessing takes one processor and no more.
    trying: Arc<Semaphore>,
    refused: Mutex<u64>,
    tell: Tell,
}

impl Users {
    /// The users of a file: a line each, `name:hash` by bcrypt, as `htpasswd -B` writes it. Refusals are told.
    ///
    /// # Errors
    /// The file cannot be read, a line is not understood, or nobody is named.
    pub fn read(path: &Path, tell: Tell) -> anyhow::Result<Self> {
        let at = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {at}"))?;
        let mut by_name = BTreeMap::new();
        let mut dearest = (0, None);
        for (n, line) in text.lines().enumerate() {
            let (line, n) = (line.trim(), n + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, hash)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
                bail!("{at}, line {n}: NAME:HASH is wanted, as `htpasswd -B -C 12 {at} NAME` writes it");
            };
            let Ok(cost) = hash.parse::<HashParts>().map(|parts| parts.get_cost()) else {
                bail!(
                    "{at}, line {n}: the password of {name:?} is not kept by bcrypt: `htpasswd -B -C 12 {at} {name}` writes it anew"
                );
            };
            ensure!(
                COSTS.contains(&cost),
                "{at}, line {n}: a cost of {cost}, and {} to {} can be tried: `htpasswd -B -C 12 {at} {name}` writes it anew",
                COSTS.start(),
                COSTS.end()
            );
            if cost > dearest.0 {
                dearest = (cost, Some(hash.to_owned()));
            }
            ensure!(
                by_name.insert(name.to_owned(), hash.to_owned()).is_none(),
                "{at}, line {n}: {name:?} stands there twice"
            );
        }
        let Some(stranger) = dearest.1 else {
            bail!("{at} names nobody: `htpasswd -cB -C 12 {at} NAME` does");
        };
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).context("the system gives no random numbers")?;
        Ok(Self {
            by_name,
            stranger,
            salt,
            known: Mutex::default(),
            trying: Arc::new(Semaphore::new(1)),
            refused: Mutex::default(),
            tell,
        })
    }

    /// Who that is by an `Authorization` of HTTP Basic (RFC 7617).
    pub async fn who(&self, authorization: &str, from: IpAddr) -> Asked {
        let Some((name, password)) = taken_apart(authorization) else { return Asked::Nobody };
        let hash = Sha256::new().chain_update(self.salt).chain_update(authorization);
        let hash: [u8; 32] = hash.finalize().into();
        if let Some(name) = self.known().get(&hash) {
            return Asked::Is(name.clone());
        }
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, self.trying.clone().acquire_owned()).await else {
            return Asked::Later;
        };
        // Others may have come with the same meanwhile.
        if let Some(name) = self.known().get(&hash) {
            return Asked::Is(name.clone());
        }
        let (kept, is_user) = match self.by_name.get(&name) {
            Some(kept) => (kept.clone(), true),
            None => (self.stranger.clone(), false),
        };
        // It is tried to the end, and its turn lasts as long, also if whoever asks has gone.
        let tried = tokio::spawn(async move {
            let _turn = turn;
            let tried = tokio::task::spawn_blocking(move || bcrypt::verify(password, &kept));
            join(tried, tokio::time::sleep(LEAST)).await.0
        });
        let is_right = matches!(tried.await, Ok(Ok(Ok(true))));
        if is_user && is_right {
            let mut known = self.known();
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(hash, name.clone());
            return Asked::Is(name);
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused += 1;
        if *refused % TOLD == 1 {
            let name: String = name.chars().take(40).collect();
            (self.tell)(&format!(
                "refused {name:?} from {from}: wrong name or password (refusals so far: {refused})"
            ));
        }
        Asked::Nobody
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and password.
fn taken_apart(authorization: &str) -> Option<(String, String)> {
    let (scheme, rest) = authorization.split_once(' ')?;
    let text = scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(rest.trim()))?.ok()?;
    let (name, password) = std::str::from_utf8(&text).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> (anyhow::Result<Users>, Arc<Mutex<Vec<String>>>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let says = told.clone();
        (Users::read(file.path(), Arc::new(move |t| says.lock().unwrap().push(t.to_owned()))), told)
    }

    /// As `htpasswd` of Apache 2.4 wrote it.
    const ANNA: &str = "anna:$2y$05$KJyONiZg0nieKLF2DpN91u4N2arJEM9RHhYuP5c/O3x1HbtK5D5/q";

    #[test]
    fn who_knows_a_password_is_let_in_and_guesses_are_told() {
        let (users, told) = users(&format!("# of the SOC\n\n{ANNA}\n"));
        let users = users.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let who = |text: &str| {
            let value = format!("Basic {}", BASE64_STANDARD.encode(text));
            runtime.block_on(users.who(&value, "192.0.2.7".parse().unwrap()))
        };
        for _ in 0..2 {
            assert_eq!(who("anna:listening: all day"), Asked::Is("anna".into()));
        }
        assert!(told.lock().unwrap().is_empty());
        for wrong in ["anna:", "anna:listening", "anna", "bert:listening: all day", "", "anna:\0"] {
            assert_eq!(who(wrong), Asked::Nobody, "{wrong}");
        }
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("refused \"anna\" from 192.0.2.7: "), "{told:?}");
        for other in ["", "Basic", "Basic !", "Bearer YW5uYTphbm5h"] {
            let other = runtime.block_on(users.who(other, "192.0.2.7".parse().unwrap()));
            assert_eq!(other, Asked::Nobody);
        }
    }

    #[test]
    fn a_try_lasts_as_long_for_whoever_is_named_and_whoever_goes() {
        let users = users(ANNA).0.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for text in ["anna:wrong", "nobody:wrong"] {
                let value = format!("Basic {}", BASE64_STANDARD.encode(text));
                let asks = users.who(&value, "192.0.2.7".parse().unwrap());
                assert!(tokio::time::timeout(LEAST / 3, asks).await.is_err(), "{text}");
                assert_eq!(users.trying.available_permits(), 0, "who asked has gone: {text}");
                tokio::time::sleep(LEAST).await;
                assert_eq!(users.trying.available_permits(), 1, "{text}");
            }
        });
    }

    #[test]
    fn what_is_no_file_of_users_is_refused_by_its_line() {
        for (text, why) in [
            ("", "names nobody"),
            ("# nobody\n", "names nobody"),
            ("anna\n", "line 1: NAME:HASH is wanted"),
            (":x\n", "line 1: NAME:HASH is wanted"),
            ("# x\nanna:$apr1$salt$hash\n", "line 2: the password of \"anna\" is not kept by bcrypt"),
            (&format!("{ANNA}\n{ANNA}\n"), "line 2: \"anna\" stands there twice"),
            (&ANNA.replace("$05$", "$03$"), "line 1: a cost of 3, and"),
            (&ANNA.replace("$05$", "$31$"), "line 1: a cost of 31, and 4 to 14 can be tried"),
        ] {
            let error = users(text).0.err().map(|e| format!("{e:#}")).unwrap_or_default();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
