//! What is told of file sharing (SMB) and of remote calls (DCE/RPC): what passes between the hosts of a network.

use std::fmt;

use crate::{Head, Magic, PacketId};
use serde::{Deserialize, Serialize};

/// What was done in an SMB session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SmbAct {
    /// The client logged on, or tried to.
    LogOn,
    /// It connected to a share.
    Connect,
    /// It opened a file or a named pipe, and moved nothing until it was closed.
    Open,
    /// It opened a file, wrote or read, and closed it or stopped.
    Transfer,
    /// From here on the session is encrypted: what it does is not seen.
    Encrypted,
    /// It said what no client says.
    Odd(SmbOddity),
}

impl SmbAct {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogOn => "log_on",
            Self::Connect => "connect",
            Self::Open => "open",
            Self::Transfer => "transfer",
            Self::Encrypted => "encrypted",
            Self::Odd(o) => o.name(),
        }
    }
}

/// What the protocol has no use for, so that neither Windows nor Samba sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SmbOddity {
    /// A transaction goes on as another kind than it began as; MS-CIFS §2.2.4.34, §2.2.4.47 and §2.2.4.63 let each kind go on as itself only.
    MixedTransaction,
    /// `TRANS2_SESSION_SETUP`, which was reserved and never implemented (MS-CIFS §2.2.6.15).
    ReservedFunction,
    /// An answer to that under a multiplex id that the client did not ask with (MS-CIFS §2.2.3.1: a server repeats the client's).
    UnaskedAnswer,
    /// A look into a named pipe that was never opened in a session seen from its start (MS-CIFS §2.2.5.5 wants a valid one).
    PeekUnopened,
    /// A header whose fixed fields are not what they must be: a structure size that is not 64 (MS-SMB2 §2.2.1), or compressed data that
    /// begins behind the message's end (§2.2.42.1).
    BrokenHeader,
    /// Bytes of the client where a message has to begin, and that begin none, in a stream that was seen whole from its start.
    Foreign,
}

impl SmbOddity {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MixedTransaction => "mixed_transaction",
            Self::ReservedFunction => "reserved_function",
            Self::UnaskedAnswer => "unasked_answer",
            Self::PeekUnopened => "peek_unopened",
            Self::BrokenHeader => "broken_header",
            Self::Foreign => "foreign",
        }
    }
}

/// One thing that was done in an SMB session, and how the server answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smb {
    /// `ts` is when the client asked for it; `tuple` has the client as `orig`.
    pub head: Head,
    /// The dialect as SMB2 numbers them (0x0202 to 0x0311), 1 for any of SMB1, 0 where it was not seen.
    pub dialect: u16,
    /// What was done.
    pub act: SmbAct,
    /// Who is logged on, `DOMAIN\user` where NTLM said so in clear; empty for nobody by name.
    pub user: Option<String>,
    /// The name of the client's machine that it logged on with.
    pub workstation: Option<String>,
    /// The share, as the client named it: `\\server\share`.
    pub share: Option<String>,
    /// The file or pipe, below the share.
    pub name: Option<String>,
    /// The server's status (MS-ERREF §2.3); `None` where no answer was seen.
    pub status: Option<u32>,
    /// Bytes of the file written to, and read from the server.
    pub moved: [u64; 2],
    /// What the file begins with as it was written, and as it was read.
    pub begins: [Magic; 2],
    /// The packets that say so.
    pub packets: Vec<PacketId>,
}

impl Smb {
    /// The name of the share alone: `ADMIN$`.
    pub fn share_name(&self) -> &str {
        let share = self.share.as_deref().unwrap_or_default();
        share.rsplit('\\').next().unwrap_or_default()
    }

    /// Whether the server refused: an error, not a warning or a word of success (MS-ERREF §2.3: severity in the top two bits).
    pub fn is_refused(&self) -> bool {
        self.status.is_some_and(|s| s >> 30 == 3)
    }

    /// Whether the share is one that administrators have by default: `ADMIN$`, or a drive's (`C$`).
    pub fn is_administrative(&self) -> bool {
        match self.share_name().as_bytes() {
            [drive, b'$'] => drive.is_ascii_alphabetic(),
            name => name.eq_ignore_ascii_case(b"ADMIN$"),
        }
    }
}

/// The name of an interface, in the order of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A remote call: one record for each operation of an interface that a connection or a pipe asks for, and each way in which it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DceRpc {
    /// `ts` is when it was first asked; `tuple` has the client as `orig`.
    pub head: Head,
    /// The named pipe, over SMB; `None` over TCP.
    pub pipe: Option<String>,
    /// Who is logged on, `DOMAIN\user` where NTLM said so in clear.
    pub user: Option<String>,
    /// The interface; `None` where its binding was not seen.
    pub interface: Option<Uuid>,
    /// The operation's number.
    pub operation: u16,
    /// Whether it was answered, be it with a fault.
    pub answered: bool,
    /// The fault that answered it (C706 §E).
    pub fault: Option<u32>,
    /// The last four bytes of an answer in clear, where functions that return a status put it (C706 §14.3.3 marshals the result last): 0 is success.
    pub result: Option<u32>,
    /// Whether its parameters are encrypted (MS-RPCE §2.2.1.1.8, `RPC_C_AUTHN_LEVEL_PKT_PRIVACY`).
    pub private: bool,
    /// The packets that say so.
    pub packets: Vec<PacketId>,
}

impl DceRpc {
    /// The interface's name, where it is one that is known here.
    pub fn interface_name(&self) -> Option<&'static str> {
        let text = self.interface?.to_string();
        INTERFACES.iter().find(|i| i.uuid == text).map(|i| i.name)
    }

    /// The operation's name, where it is one that is known here.
    pub fn operation_name(&self) -> Option<&'static str> {
        let text = self.interface?.to_string();
        let interface = INTERFACES.iter().find(|i| i.uuid == text)?;
        interface.operations.iter().find(|o| o.0 == self.operation).map(|o| o.1)
    }

    /// Whether it was answered, and neither a fault nor a result in clear says that it failed.
    pub fn succeeded(&self) -> bool {
        self.answered && self.fault.is_none() && self.result.is_none_or(|r| r == 0)
    }

    /// What it has another host run, if it does: `service`, `task` or `process`.
    pub fn runs(&self) -> Option<&'static str> {
        Some(match self.operation_name()? {
            "RCreateServiceW"
            | "RCreateServiceA"
            | "RCreateServiceWOW64W"
            | "RStartServiceW"
            | "RStartServiceA" => "service",
            "NetrJobAdd" | "SchRpcRegisterTask" | "SchRpcRun" => "task",
            "ExecMethod" | "ExecMethodAsync" => "process",
            _ => return None,
        })
    }
}

/// An interface and those of its operations that matter here.
#[derive(Debug)]
struct Interface {
    uuid: &'static str,
    name: &'static str,
    operations: &'static [(u16, &'static str)],
}

/// Interfaces that are known by name, with the document that numbers their operations.
const INTERFACES: &[Interface] = &[
    // MS-SCMR §3.1.4.
    Interface {
        uuid: "367abb81-9844-35f1-ad32-98f038001003",
        name: "svcctl",
        operations: &[
            (0, "RCloseServiceHandle"),
            (1, "RControlService"),
            (2, "RDeleteService"),
            (11, "RChangeServiceConfigW"),
            (12, "RCreateServiceW"),
            (15, "ROpenSCManagerW"),
            (16, "ROpenServiceW"),
            (19, "RStartServiceW"),
            (24, "RCreateServiceA"),
            (27, "ROpenSCManagerA"),
            (28, "ROpenServiceA"),
            (31, "RStartServiceA"),
            (60, "RCreateServiceWOW64W"),
        ],
    },
    // MS-TSCH §3.2.5.2 and §3.2.5.4.
    Interface {
        uuid: "1ff70682-0a51-30e8-076d-740be8cee98b",
        name: "atsvc",
        operations: &[(0, "NetrJobAdd"), (1, "NetrJobDel"), (2, "NetrJobEnum"), (3, "NetrJobGetInfo")],
    },
    Interface {
        uuid: "86d35949-83c9-4044-b424-db363231fd0c",
        name: "ITaskSchedulerService",
        operations: &[
            (0, "SchRpcHighestVersion"),
            (1, "SchRpcRegisterTask"),
            (2, "SchRpcRetrieveTask"),
            (7, "SchRpcEnumTasks"),
            (12, "SchRpcRun"),
            (13, "SchRpcDelete"),
        ],
    },
    // MS-SRVS §3.1.4.
    Interface {
        uuid: "4b324fc8-1670-01d3-1278-5a47bf6ee188",
        name: "srvsvc",
        operations: &[
            (12, "NetrSessionEnum"),
            (15, "NetrShareEnum"),
            (16, "NetrShareGetInfo"),
            (21, "NetrServerGetInfo"),
            (31, "NetprPathCanonicalize"),
            (32, "NetprPathCompare"),
        ],
    },
    // MS-WKST §3.2.4.
    Interface {
        uuid: "6bffd098-a112-3610-9833-46c3f87e345a",
        name: "wkssvc",
        operations: &[(0, "NetrWkstaGetInfo"), (2, "NetrWkstaUserEnum")],
    },
    // MS-SAMR §3.1.5.
    Interface {
        uuid: "12345778-1234-abcd-ef00-0123456789ac",
        name: "samr",
        operations: &[(13, "SamrEnumerateUsersInDomain")],
    },
    // MS-LSAD, MS-LSAT.
    Interface { uuid: "12345778-1234-abcd-ef00-0123456789ab", name: "lsarpc", operations: &[] },
    // MS-RRP §3.1.5.
    Interface {
        uuid: "338cd001-2244-31f1-aaaa-900038001003",
        name: "winreg",
        operations: &[(22, "BaseRegSetValue")],
    },
    // MS-DRSR §4.1.
    Interface {
        uuid: "e3514235-4b06-11d1-ab04-00c04fc2dcd2",
        name: "drsuapi",
        operations: &[(0, "IDL_DRSBind"), (3, "IDL_DRSGetNCChanges"), (12, "IDL_DRSCrackNames")],
    },
    // MS-NRPC §3.5.4.
    Interface {
        uuid: "12345678-1234-abcd-ef00-01234567cffb",
        name: "netlogon",
        operations: &[
            (4, "NetrServerReqChallenge"),
            (26, "NetrServerAuthenticate3"),
            (30, "NetrServerPasswordSet2"),
        ],
    },
    // MS-RPRN §3.1.4.
    Interface {
        uuid: "12345678-1234-abcd-ef00-0123456789ab",
        name: "spoolss",
        operations: &[(65, "RpcRemoteFindFirstPrinterChangeNotificationEx"), (89, "RpcAddPrinterDriverEx")],
    },
    // C706 §O: the endpoint mapper; and the interface that every server has.
    Interface {
        uuid: "e1af8308-5d1f-11c9-91a4-08002b14a0fa",
        name: "epmapper",
        operations: &[(3, "ept_map")],
    },
    Interface { uuid: "afa8bd80-7d8a-11c9-bef4-08002b102989", name: "mgmt", operations: &[] },
    // MS-DCOM §3.1.2.5.
    Interface {
        uuid: "4d9f4ab8-7d1c-11cf-861e-0020af6e7c57",
        name: "IActivation",
        operations: &[(0, "RemoteActivation")],
    },
    Interface {
        uuid: "000001a0-0000-0000-c000-000000000046",
        name: "IRemoteSCMActivator",
        operations: &[(3, "RemoteGetClassObject"), (4, "RemoteCreateInstance")],
    },
    Interface { uuid: "00000131-0000-0000-c000-000000000046", name: "IRemUnknown", operations: &[] },
    Interface { uuid: "00000143-0000-0000-c000-000000000046", name: "IRemUnknown2", operations: &[] },
    Interface {
        uuid: "99fcfec4-5260-101b-bbcb-00aa0021347a",
        name: "IObjectExporter",
        operations: &[(5, "ServerAlive2")],
    },
    // MS-WMI §3.1.4.
    Interface {
        uuid: "f309ad18-d86a-11d0-a075-00c04fb68820",
        name: "IWbemLevel1Login",
        operations: &[(6, "NTLMLogin")],
    },
    Interface {
        uuid: "9556dc99-828c-11cf-a37e-00aa003240c7",
        name: "IWbemServices",
        operations: &[(20, "ExecQuery"), (24, "ExecMethod"), (25, "ExecMethodAsync")],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_named_once_and_as_text() {
        for (i, one) in INTERFACES.iter().enumerate() {
            assert_eq!(one.uuid.len(), 36, "{}", one.name);
            assert!(one.uuid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{}", one.name);
            assert!(INTERFACES.iter().skip(i + 1).all(|o| o.uuid != one.uuid && o.name != one.name));
        }
        let svcctl =
            Uuid([0x36, 0x7a, 0xbb, 0x81, 0x98, 0x44, 0x35, 0xf1, 0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3]);
        assert_eq!(svcctl.to_string(), INTERFACES[0].uuid);
    }
}
