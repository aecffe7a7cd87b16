//! What ATT&CK calls the techniques that behaviours name, and the tactics that they serve (Enterprise, in the version of [`ATTACK_VERSION`]).

/// The version of MITRE ATT&CK Enterprise whose technique numbers the behaviours name.
pub const ATTACK_VERSION: &str = "18";

/// A technique or sub-technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Technique {
    /// Its number: `T1071.001`.
    pub id: &'static str,
    /// Its own name, without the technique's that it is a part of.
    pub name: &'static str,
    /// The tactic that it serves; where ATT&CK lists several, the one that what is seen on the network serves.
    pub tactic: &'static str,
}

const C2: &str = "TA0011";

const fn technique(id: &'static str, name: &'static str, tactic: &'static str) -> Technique {
    Technique { id, name, tactic }
}

/// By number; the technique of each sub-technique is there too.
const TECHNIQUES: &[Technique] = &[
    technique("T1001", "Data Obfuscation", C2),
    technique("T1001.003", "Protocol or Service Impersonation", C2),
    technique("T1008", "Fallback Channels", C2),
    technique("T1016", "System Network Configuration Discovery", "TA0007"),
    technique("T1016.001", "Internet Connection Discovery", "TA0007"),
    technique("T1021", "Remote Services", "TA0008"),
    technique("T1021.002", "SMB/Windows Admin Shares", "TA0008"),
    technique("T1029", "Scheduled Transfer", "TA0010"),
    technique("T1036", "Masquerading", "TA0005"),
    technique("T1036.008", "Masquerade File Type", "TA0005"),
    technique("T1041", "Exfiltration Over C2 Channel", "TA0010"),
    technique("T1046", "Network Service Discovery", "TA0007"),
    technique("T1048", "Exfiltration Over Alternative Protocol", "TA0010"),
    technique("T1048.003", "Exfiltration Over Unencrypted Non-C2 Protocol", "TA0010"),
    technique("T1059", "Command and Scripting Interpreter", "TA0002"),
    technique("T1059.003", "Windows Command Shell", "TA0002"),
    technique("T1071", "Application Layer Protocol", C2),
    technique("T1071.001", "Web Protocols", C2),
    technique("T1071.003", "Mail Protocols", C2),
    technique("T1071.004", "DNS", C2),
    technique("T1082", "System Information Discovery", "TA0007"),
    technique("T1090", "Proxy", C2),
    technique("T1090.002", "External Proxy", C2),
    technique("T1090.003", "Multi-hop Proxy", C2),
    technique("T1095", "Non-Application Layer Protocol", C2),
    technique("T1102", "Web Service", C2),
    technique("T1104", "Multi-Stage Channels", C2),
    technique("T1105", "Ingress Tool Transfer", C2),
    technique("T1110", "Brute Force", "TA0006"),
    technique("T1110.001", "Password Guessing", "TA0006"),
    technique("T1210", "Exploitation of Remote Services", "TA0008"),
    technique("T1496", "Resource Hijacking", "TA0040"),
    technique("T1496.001", "Compute Hijacking", "TA0040"),
    technique("T1496.002", "Bandwidth Hijacking", "TA0040"),
    technique("T1498", "Network Denial of Service", "TA0040"),
    technique("T1498.001", "Direct Network Flood", "TA0040"),
    technique("T1499", "Endpoint Denial of Service", "TA0040"),
    technique("T1499.001", "OS Exhaustion Flood", "TA0040"),
    technique("T1568", "Dynamic Resolution", C2),
    technique("T1568.002", "Domain Generation Algorithms", C2),
    technique("T1569", "System Services", "TA0002"),
    technique("T1569.002", "Service Execution", "TA0002"),
    technique("T1571", "Non-Standard Port", C2),
    technique("T1572", "Protocol Tunneling", C2),
    technique("T1573", "Encrypted Channel", C2),
    technique("T1573.001", "Symmetric Cryptography", C2),
    technique("T1573.002", "Asymmetric Cryptography", C2),
    technique("T1587", "Develop Capabilities", "TA0042"),
    technique("T1587.003", "Digital Certificates", "TA0042"),
    technique("T1595", "Active Scanning", "TA0043"),
    technique("T1595.001", "Scanning IP Blocks", "TA0043"),
];

/// Tactics by number.
const TACTICS: &[(&str, &str)] = &[
    ("TA0002", "Execution"),
    ("TA0005", "Defense Evasion"),
    ("TA0006", "Credential Access"),
    ("TA0007", "Discovery"),
    ("TA0008", "Lateral Movement"),
    ("TA0010", "Exfiltration"),
    (C2, "Command and Control"),
    ("TA0040", "Impact"),
    ("TA0042", "Resource Development"),
    ("TA0043", "Reconnaissance"),
];

impl Technique {
    /// The technique of a number.
    pub fn of(id: &str) -> Option<&'static Self> {
        TECHNIQUES.iter().find(|t| t.id == id)
    }

    /// The technique that it is a part of, if it is a sub-technique.
    pub fn parent(&self) -> Option<&'static Self> {
        Self::of(self.id.split_once('.')?.0)
    }

    /// What its tactic is called.
    pub fn tactic_name(&self) -> &'static str {
        TACTICS.iter().find(|(id, _)| *id == self.tactic).map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CATALOGUE;

    #[test]
    fn every_technique_of_a_behaviour_has_a_name_and_a_tactic() {
        for behaviour in CATALOGUE {
            for id in behaviour.about.attack {
                let found = Technique::of(id);
                assert!(found.is_some(), "{}: {id} is not in the list", behaviour.name);
                assert!(found.is_some_and(|t| !t.tactic_name().is_empty()), "{id}");
                assert!(!id.contains('.') || found.and_then(Technique::parent).is_some(), "{id}");
            }
        }
        assert!(TECHNIQUES.is_sorted_by_key(|t| t.id));
    }
}
