//! Certificates that chain to a public root: another's word that a server is called so.
//!
//! A certificate alone proves little, since whoever has spoken with its owner can replay it; what a server signs with its key in the handshake
//! (RFC 5246 §7.4.3) shows that the owner answered this very hello. What it cannot show: a client in league with its server may send a hello that
//! the owner has answered before. The roots are Mozilla's of today; time is that of the packets. Nothing is asked of anybody: what was revoked is not known.

use record::{Certificate, Timestamp};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use serde::{Deserialize, Serialize};
use webpki::{EndEntityCert, KeyUsage, ring};

/// Chains that may be looked at without delay, and for how many records there is one more: a signature costs as much as many packets, and who
/// makes handshakes up shall not say how many are checked (*assumed*).
const AT_ONCE: u32 = 16;
const RECORDS: u32 = 10_000;

/// The means to check chains, within bounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Checks {
    left: u32,
    records: u32,
}

impl Default for Checks {
    fn default() -> Self {
        Self { left: AT_ONCE, records: 0 }
    }
}

impl Checks {
    /// A record went by.
    pub const fn record(&mut self) {
        self.records += 1;
        if self.records >= RECORDS {
            self.records = 0;
            if self.left < AT_ONCE {
                self.left += 1;
            }
        }
    }

    /// Whether a public authority says that the server of a handshake at `at` is called `name`; `None` when there were too many to check.
    pub fn say(&mut self, certificate: &Certificate, name: &str, at: Timestamp) -> Option<bool> {
        self.left = self.left.checked_sub(1)?;
        Some(holds(certificate, name, at, webpki_roots::TLS_SERVER_ROOTS).is_some())
    }
}

/// The algorithms that a scheme of TLS 1.2 may mean: there its curve is that of the key.
fn algorithms(scheme: u16) -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> {
    let (one, other) = match scheme {
        0x0401 => (ring::RSA_PKCS1_2048_8192_SHA256, None),
        0x0501 => (ring::RSA_PKCS1_2048_8192_SHA384, None),
        0x0601 => (ring::RSA_PKCS1_2048_8192_SHA512, None),
        0x0403 => (ring::ECDSA_P256_SHA256, Some(ring::ECDSA_P384_SHA256)),
        0x0503 => (ring::ECDSA_P384_SHA384, Some(ring::ECDSA_P256_SHA384)),
        0x0804 => (ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY, None),
        0x0805 => (ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY, None),
        0x0806 => (ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY, None),
        0x0807 => (ring::ED25519, None),
        _ => return None.into_iter().chain(None),
    };
    Some(one).into_iter().chain(other)
}

/// Whether a certificate is for `name`, chains to one of the roots, and its owner spoke in this handshake.
fn holds(certificate: &Certificate, name: &str, at: Timestamp, roots: &[TrustAnchor<'_>]) -> Option<()> {
    let proof = certificate.proof.as_ref()?;
    let name = ServerName::try_from(name).ok()?;
    let der = CertificateDer::from(certificate.der.as_slice());
    let own = EndEntityCert::try_from(&der).ok()?;
    own.verify_is_valid_for_subject_name(&name).ok()?;
    algorithms(proof.scheme)
        .any(|a| own.verify_signature(a, &proof.signed, &proof.signature).is_ok())
        .then_some(())?;
    let chain: Vec<CertificateDer<'_>> =
        certificate.chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let secs = u64::try_from(at.0.div_euclid(1_000_000_000)).ok()?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs));
    let usage = KeyUsage::server_auth();
    own.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, roots, &chain, time, usage, None, None).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SigningKey};
    use record::KeyProof;

    fn proof(key: &KeyPair, signed: &[u8]) -> KeyProof {
        KeyProof { scheme: 0x0403, signed: signed.to_vec(), signature: key.sign(signed).unwrap() }
    }

    /// An authority's certificate, and one of a server that an intermediate authority below it names.
    fn made() -> (CertificateDer<'static>, Certificate, KeyPair) {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params
        };
        let (root_key, middle_key, key) =
            (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority("root").self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(authority("root"), root_key);
        let middle = authority("middle").signed_by(&middle_key, &root_issuer).unwrap();
        let middle_issuer = Issuer::new(authority("middle"), middle_key);
        let mut params = CertificateParams::new(vec!["update.example.com".into()]).unwrap();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
        let own = params.signed_by(&key, &middle_issuer).unwrap();
        let certificate = Certificate {
            subject: String::new(),
            issuer: String::new(),
            self_signed: false,
            not_before: Timestamp(0),
            not_after: Timestamp(0),
            names: vec![],
            der: own.der().to_vec(),
            chain: vec![middle.der().to_vec()],
            proof: Some(proof(&key, b"randoms and parameters")),
        };
        (root.der().clone(), certificate, key)
    }

    #[test]
    fn a_chain_to_a_root_with_the_proof_of_its_key() {
        let (root, good, _) = made();
        let roots = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let in_2020 = Timestamp::from_secs(1_590_000_000);
        let says = |c: &Certificate, name: &str, at| holds(c, name, at, &roots).is_some();
        assert!(says(&good, "update.example.com", in_2020));
        assert!(!says(&good, "example.com", in_2020), "another name");
        assert!(!says(&good, "update.example.com", Timestamp::from_secs(1_700_000_000)), "ended");
        assert!(holds(&good, "update.example.com", in_2020, &[]).is_none(), "nobody's root");
        assert!(!says(&Certificate { chain: vec![], ..good.clone() }, "update.example.com", in_2020));
        // Replayed by one who has another key, or from another handshake.
        let stranger = proof(&KeyPair::generate().unwrap(), b"randoms and parameters");
        assert!(!says(&Certificate { proof: Some(stranger), ..good.clone() }, "update.example.com", in_2020));
        let mut elsewhere = good.clone();
        elsewhere.proof.as_mut().unwrap().signed = b"other randoms".to_vec();
        assert!(!says(&elsewhere, "update.example.com", in_2020));
        assert!(!says(&Certificate { proof: None, ..good }, "update.example.com", in_2020));
    }

    #[test]
    fn no_more_are_checked_than_there_are_means_for() {
        let (_, good, _) = made();
        let mut checks = Checks::default();
        for _ in 0..2 * AT_ONCE {
            // Not to a public root; what counts is that it was looked at.
            let said = checks.say(&good, "update.example.com", Timestamp::from_secs(1_590_000_000));
            assert_ne!(said, Some(true));
        }
        assert_eq!(checks.left, 0);
        (0..RECORDS).for_each(|_| checks.record());
        assert_eq!(checks.left, 1);
    }
}
