//! The scheduler and the executors: Ballista's, which know the analyst.
//!
//! Ballista's ports ask nobody who he is: they belong on loopback or a network of their own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ballista_core::config::{
    BALLISTA_ADAPTIVE_PLANNER_ENABLED, BALLISTA_CLIENT_GRPC_CONNECT_TIMEOUT_SECONDS, TaskSchedulingPolicy,
};
use ballista_core::extension::SessionConfigExt;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Url;

use crate::codec::Codec;

/// How often an executor says that it is there, in seconds.
const HEARTBEAT: u64 = 2;
/// When one that says nothing counts as gone, in seconds.
const GONE: u64 = 10;
/// How long shuffled rows of a finished job stay, in seconds (*assumed*: longer than anybody fetches them).
const SHUFFLED: u64 = 300;

/// Buckets are found by what the environment says of them.
#[derive(Debug, Default)]
pub struct Places(DefaultObjectStoreRegistry);

impl ObjectStoreRegistry for Places {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.0.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.0.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if let Ok(known) = self.0.get_store(url) {
            return Ok(known);
        }
        let bucket = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        let found =
            store::objects(&PathBuf::from(&bucket)).map_err(|e| DataFusionError::External(e.into()))?;
        let found =
            found.ok_or_else(|| DataFusionError::Configuration(format!("nothing is known of {bucket}")))?;
        self.0.register_store(url, found.store.clone());
        Ok(found.store)
    }
}

/// What plans run in: buckets by the environment, and files for what does not fit in memory.
///
/// # Errors
/// There is no folder for them.
pub fn runtime(spill: Option<PathBuf>, memory: Option<usize>) -> Result<Arc<RuntimeEnv>> {
    let mut builder = RuntimeEnvBuilder::new().with_object_store_registry(Arc::new(Places::default()));
    if let Some(folder) = spill {
        builder = builder.with_temp_file_path(folder);
    }
    if let Some(memory) = memory {
        builder = builder.with_memory_pool(Arc::new(FairSpillPool::new(memory)));
    }
    builder.build_arc()
}

/// Settings of every session: the adaptive planner leaves what rolled-back attempts wrote among the results.
pub fn session() -> SessionConfig {
    SessionConfig::new_with_ballista()
        .set_str(BALLISTA_ADAPTIVE_PLANNER_ENABLED, "false")
        .set_str(BALLISTA_CLIENT_GRPC_CONNECT_TIMEOUT_SECONDS, &HEARTBEAT.to_string())
        .with_ballista_physical_extension_codec(Arc::new(Codec::default()))
}

/// Where a scheduler is: `HOST:PORT`, or `df://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bare = text.strip_prefix("df://").unwrap_or(text).trim_end_matches('/');
        let wrong = || format!("{text:?} is no address of a scheduler: write HOST:PORT, as 10.9.0.1:50050");
        let url = Url::parse(&format!("df://{bare}")).map_err(|_| wrong())?;
        let (Some(host), Some(port), "", None, "") =
            (url.host_str(), url.port(), url.path(), url.query(), url.username())
        else {
            return Err(wrong());
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// What others call a machine that listens at `bind`: its address, or its name where it listens everywhere.
fn called(bind: IpAddr) -> anyhow::Result<String> {
    if !bind.is_unspecified() {
        return Ok(bind.to_string());
    }
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").context("what is this machine called?")?;
    Ok(name.trim().to_owned())
}

/// Serves as scheduler until it is stopped.
///
/// # Errors
/// The address cannot be had.
pub async fn scheduler(at: SocketAddr) -> anyhow::Result<()> {
    let config = SchedulerConfig {
        bind_host: at.ip().to_string(),
        external_host: called(at.ip())?,
        bind_port: at.port(),
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        executor_timeout_seconds: GONE,
        expire_dead_executor_interval_seconds: HEARTBEAT,
        no_executors_grace_period_seconds: 3 * GONE,
        finished_job_data_clean_up_interval_seconds: SHUFFLED,
        override_physical_codec: Some(Arc::new(Codec::default())),
        override_config_producer: Some(Arc::new(session)),
        override_session_builder: Some(Arc::new(|config| {
            Ok(SessionStateBuilder::new()
                .with_default_features()
                .with_config(config)
                .with_runtime_env(runtime(None, None)?)
                .build())
        })),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await?;
    start_server(cluster, at, Arc::new(config))
        .await
        .with_context(|| format!("cannot serve as scheduler on {at}"))
}

/// An executor: whom it works for, and with what.
pub struct Executor {
    /// The scheduler.
    pub scheduler: Address,
    /// Where it listens.
    pub bind: IpAddr,
    /// The name or address that others fetch from; without it the one that it listens at.
    pub host: Option<String>,
    /// Where shuffled rows lie while a job runs.
    pub work: PathBuf,
    /// Bytes for sorting and merging.
    pub memory: u64,
}

/// A port that nobody has.
fn free(ip: IpAddr) -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((ip, 0))?.local_addr()?.port())
}

/// Waits for a scheduler that is started together with its executors.
async fn reach(scheduler: &Address) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(GONE);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, TcpStream::connect(scheduler.to_string())).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) if !left.is_zero() => tokio::time::sleep(Duration::from_millis(500).min(left)).await,
            Ok(Err(e)) => return Err(e).with_context(|| nobody(scheduler)),
            Err(_) => anyhow::bail!("{}: no answer", nobody(scheduler)),
        }
    }
}

fn nobody(scheduler: &Address) -> String {
    format!("there is no scheduler at {scheduler}, {GONE} s long")
}

/// Works for a scheduler until it is stopped. It does one task at a time: of more, a lost one takes others with it.
///
/// # Errors
/// There is no scheduler there, or no room.
pub async fn executor(executor: Executor) -> anyhow::Result<()> {
    let Executor { scheduler, bind, host, work, memory } = executor;
    let host = host.map_or_else(|| called(bind), Ok)?;
    reach(&scheduler).await?;
    // What an earlier start left is nobody's.
    let work = work.join(format!("executor-{}", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let spill = work.clone();
    let config = ExecutorProcessConfig {
        bind_host: bind.to_string(),
        external_host: Some(host),
        port: free(bind)?,
        grpc_port: free(bind)?,
        scheduler_host: scheduler.host.clone(),
        scheduler_port: scheduler.port,
        // Ballista's own wait never ends: it measures time from now.
        scheduler_connect_timeout_seconds: 0,
        vcores: 1,
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: Some(work.display().to_string()),
        job_data_ttl_seconds: SHUFFLED * 2,
        job_data_clean_up_interval_seconds: SHUFFLED,
        executor_heartbeat_interval_seconds: HEARTBEAT,
        memory_pool_size: Some(memory),
        override_physical_codec: Some(Arc::new(Codec::default())),
        override_config_producer: Some(Arc::new(session)),
        override_runtime_producer: Some(Arc::new(move |_| runtime(Some(spill.clone()), None))),
        ..ExecutorProcessConfig::default()
    };
    let served = start_executor_process(Arc::new(config)).await;
    let _ = std::fs::remove_dir_all(&work);
    served.with_context(|| format!("cannot work for the scheduler at {scheduler}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_refused() {
        for text in ["10.9.0.1:50050", "df://scheduler:50050", "[2001:db8::1]:50050/"] {
            let said = text.parse::<Address>().expect(text).to_string();
            assert!(text.contains(&said), "{said}");
        }
        for text in
            ["", "10.9.0.1", "http://10.9.0.1:50050", "a b:1", "a:70000", "a:1/b", "2001:db8::1:50050"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
