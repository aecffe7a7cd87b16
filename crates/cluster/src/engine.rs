//! Where plans run: here, or on a cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobStatusParams, KeyValuePair, execute_query_result, job_status,
};
use ballista_core::utils::{GrpcClientConfig, create_grpc_client_endpoint};
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use tonic::transport::Channel;

use crate::codec::Codec;
use crate::nodes::session;

/// How often it is asked how a job stands.
const ASKED: Duration = Duration::from_millis(200);
/// How long a scheduler may take for an answer, and how often it may take longer (*assumed*: it answers within milliseconds, and is back from a restart within seconds).
const ANSWERED: Duration = Duration::from_secs(10);
/// See [`ANSWERED`].
const UNANSWERED: u32 = 3;

/// Where plans run.
#[derive(Clone)]
pub enum Engine {
    /// In this process.
    Embedded(Arc<RuntimeEnv>),
    /// On a cluster.
    Cluster {
        /// Its scheduler's address.
        at: String,
        /// Bytes of the largest plan that was sent there.
        largest: Arc<AtomicUsize>,
        /// Jobs that are not done.
        jobs: Arc<Mutex<BTreeMap<String, SchedulerGrpcClient<Channel>>>>,
    },
}

/// Why a plan did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It may go well the next time.
    #[error("{0}")]
    Lost(String),
    /// It will go so every time.
    #[error("{0}")]
    Wrong(String),
    /// It was not begun, and will not be, whatever the store holds.
    #[error("{0}")]
    Refused(String),
}

impl Engine {
    /// The cluster whose scheduler is there.
    pub fn cluster(at: impl Into<String>) -> Self {
        Self::Cluster { at: at.into(), largest: Arc::default(), jobs: Arc::default() }
    }

    /// Bytes of the largest plan that was sent to a cluster.
    pub fn largest_plan(&self) -> usize {
        match self {
            Self::Embedded(_) => 0,
            Self::Cluster { largest, .. } => largest.load(Ordering::Relaxed),
        }
    }

    /// Runs a plan whose result is what it leaves.
    ///
    /// # Errors
    /// It failed, or took longer than this.
    pub async fn run(&self, plan: Arc<dyn ExecutionPlan>, patience: Duration) -> Result<(), Failed> {
        match self {
            Self::Embedded(runtime) => {
                let context = SessionContext::new_with_config_rt(session(), runtime.clone());
                // A task of its own: a plan of one stage does all of it where it is waited for.
                let task = context.task_ctx();
                let done = SpawnedTask::spawn(collect(plan, task)).join().await;
                let done = done.map_err(|e| Failed::Wrong(e.to_string()))?;
                done.map(|_| ()).map_err(|e| Failed::Wrong(e.to_string()))
            }
            Self::Cluster { at, largest, jobs } => {
                let (id, done) = submit(at, plan, patience, largest, jobs).await;
                let open = id.and_then(|id| lock(jobs).remove(&id).map(|scheduler| (id, scheduler)));
                if let (true, Some((id, scheduler))) = (done.is_err(), open) {
                    // Whatever of it still runs is wanted no more.
                    cancel(id, scheduler).await;
                }
                done
            }
        }
    }

    /// Ends the jobs that are not done: nobody waits for them any more.
    pub async fn give_up(&self) {
        let Self::Cluster { jobs, .. } = self else { return };
        let open = std::mem::take(&mut *lock(jobs));
        futures_util::future::join_all(open.into_iter().map(|(id, scheduler)| cancel(id, scheduler))).await;
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn cancel(id: String, mut scheduler: SchedulerGrpcClient<Channel>) {
    let asked = scheduler.cancel_job(CancelJobParams { job_id: id });
    let _ = tokio::time::timeout(Duration::from_secs(2), asked).await;
}

async fn connect(at: &str, config: &GrpcClientConfig) -> Result<SchedulerGrpcClient<Channel>, Failed> {
    let lost =
        |e: &dyn std::fmt::Display| Failed::Lost(format!("the scheduler at {at} does not answer: {e}"));
    let endpoint = create_grpc_client_endpoint(format!("http://{at}"), Some(config)).map_err(|e| lost(&e))?;
    let channel = endpoint.connect().await.map_err(|e| lost(&e))?;
    let most = config.max_message_size;
    Ok(SchedulerGrpcClient::new(channel).max_encoding_message_size(most).max_decoding_message_size(most))
}

/// A job of a scheduler, and how to ask for it.
struct Job {
    scheduler: SchedulerGrpcClient<Channel>,
    id: String,
}

async fn submit(
    at: &str,
    plan: Arc<dyn ExecutionPlan>,
    patience: Duration,
    largest: &AtomicUsize,
    jobs: &Mutex<BTreeMap<String, SchedulerGrpcClient<Channel>>>,
) -> (Option<String>, Result<(), Failed>) {
    let config = GrpcClientConfig::from(&session().ballista_config());
    let submitted = match body_of(plan, &config, largest) {
        Ok(body) => tokio::time::timeout(patience.min(UNANSWERED * ANSWERED), send(at, body, &config)).await,
        Err(wrong) => return (None, Err(wrong)),
    };
    let mut job = match submitted {
        Ok(Ok(job)) => job,
        Ok(Err(failed)) => return (None, Err(failed)),
        Err(_) => {
            return (None, Err(Failed::Lost(format!("the scheduler at {at} does not answer"))));
        }
    };
    let id = job.id.clone();
    lock(jobs).insert(id.clone(), job.scheduler.clone());
    let done = tokio::time::timeout(patience, job.wait(at, &config)).await;
    let done =
        done.unwrap_or_else(|_| Err(Failed::Lost(format!("it was not done after {} s", patience.as_secs()))));
    (Some(id), done)
}

/// A plan as it is sent.
fn body_of(
    plan: Arc<dyn ExecutionPlan>,
    config: &GrpcClientConfig,
    largest: &AtomicUsize,
) -> Result<Vec<u8>, Failed> {
    let wrong = |e: &dyn std::fmt::Display| Failed::Refused(format!("the plan cannot be sent: {e}"));
    let node = PhysicalPlanNode::try_from_physical_plan(plan, &Codec::default()).map_err(|e| wrong(&e))?;
    let mut body = Vec::new();
    node.try_encode(&mut body).map_err(|e| wrong(&e))?;
    if body.len() >= config.max_message_size {
        return Err(wrong(&format!(
            "it has {} bytes, and a message may have {}: it names too many files: small ones are joined by `hydrophone store compact`, and a store that is analysed as it grows is read in parts",
            body.len(),
            config.max_message_size
        )));
    }
    largest.fetch_max(body.len(), Ordering::Relaxed);
    Ok(body)
}

/// Hands a plan to a scheduler.
async fn send(at: &str, body: Vec<u8>, config: &GrpcClientConfig) -> Result<Job, Failed> {
    let session = session();
    let settings = session.options().entries().into_iter();
    let settings = settings.map(|e| KeyValuePair { key: e.key, value: e.value }).collect();
    let mut scheduler = connect(at, config).await?;
    let query = ExecuteQueryParams {
        query: Some(Query::PhysicalPlan(body)),
        settings,
        session_id: uuid::Uuid::new_v4().to_string(),
        operation_id: uuid::Uuid::new_v4().to_string(),
    };
    let mut request = tonic::Request::new(query);
    ballista_core::version::insert_version_header(request.metadata_mut());
    let said = scheduler
        .execute_query(request)
        .await
        .map_err(|e| Failed::Lost(format!("the scheduler at {at} does not answer: {}", e.message())))?;
    match said.into_inner().result {
        Some(execute_query_result::Result::Success(job)) => Ok(Job { scheduler, id: job.job_id }),
        other => Err(Failed::Refused(format!("the scheduler at {at} refuses the plan: {other:?}"))),
    }
}

impl Job {
    async fn wait(&mut self, at: &str, config: &GrpcClientConfig) -> Result<(), Failed> {
        let mut unanswered = 0;
        loop {
            tokio::time::sleep(ASKED).await;
            let asked = GetJobStatusParams { job_id: self.id.clone() };
            let said = tokio::time::timeout(ANSWERED, self.scheduler.get_job_status(asked)).await;
            let why = match said {
                Ok(Ok(said)) => Ok(said.into_inner()),
                Ok(Err(e)) => Err(e.message().to_owned()),
                Err(_) => Err(format!("no answer within {} s", ANSWERED.as_secs())),
            };
            let said = match why {
                Ok(said) => said,
                Err(why) => {
                    // It may be back in a moment; whether it still knows of the job, it says then.
                    unanswered += 1;
                    if unanswered < UNANSWERED
                        && let Ok(Ok(again)) = tokio::time::timeout(ANSWERED, connect(at, config)).await
                    {
                        self.scheduler = again;
                        continue;
                    }
                    return Err(Failed::Lost(format!("the scheduler at {at} is gone: {why}")));
                }
            };
            unanswered = 0;
            match said.status.and_then(|s| s.status) {
                Some(job_status::Status::Successful(_)) => return Ok(()),
                Some(job_status::Status::Failed(e)) => return Err(Failed::Wrong(e.error)),
                Some(_) => {}
                None => return Err(Failed::Lost(format!("the scheduler at {at} knows of the job no more"))),
            }
        }
    }
}
