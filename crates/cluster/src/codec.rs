//! How the analyst travels: its node of a plan as bytes, beside Ballista's own.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use crate::analyse::Analyse;
use crate::task::{Task, edition};

/// How a node of ours begins.
const MAGIC: &[u8] = b"hydrophone task 1\n";

/// Ballista's codec, and the analyst's.
#[derive(Debug, Default)]
pub struct Codec(BallistaPhysicalExtensionCodec);

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(body) = buf.strip_prefix(MAGIC) else {
            return self.0.try_decode(buf, inputs, ctx, converter);
        };
        let task: Task = serde_json::from_slice(body)
            .map_err(|e| DataFusionError::Execution(format!("a task of another version: {e}")))?;
        if task.edition != edition() {
            return Err(DataFusionError::Execution(format!(
                "the task is of edition {}, and this is {}: run one build, with the same --payoffs, everywhere",
                task.edition,
                edition()
            )));
        }
        let input = inputs.first().cloned();
        let input = input.ok_or_else(|| DataFusionError::Internal("an analyst without input".into()))?;
        Ok(Arc::new(Analyse::new(Arc::new(task), input)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(analyse) = node.downcast_ref::<Analyse>() else {
            return self.0.try_encode(node, buf, converter);
        };
        buf.extend_from_slice(MAGIC);
        serde_json::to_writer(buf, analyse.task()).map_err(|e| DataFusionError::External(e.into()))
    }
}
