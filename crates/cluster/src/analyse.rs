//! The analyst as an operator: rows in total order in, what its shares tell written beside the store, and one row that says where.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimestampNanosecondType, UInt8Type, UInt32Type, UInt64Type,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures_util::{StreamExt, stream};
use pipeline::{Teller, Twins};
use record::{Record, Timestamp};
use verdict::Analyst;

use crate::part::{Part, PartWriter, earlier};
use crate::plan::{IS_PRIMARY, KNOWN, RECORD, RUN, SEQ, SHARE, TO, WHOSE_IT_IS};
use crate::task::Task;

/// The analyst of a task's shares, one after the other.
#[derive(Debug)]
pub struct Analyse {
    task: Arc<Task>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Analyse {
    /// Of the rows of a task in total order.
    pub fn new(task: Arc<Task>, input: Arc<dyn ExecutionPlan>) -> Self {
        let schema = Arc::new(Schema::new(vec![Field::new("part", DataType::Utf8, false)]));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { task, input, properties: Arc::new(properties) }
    }

    /// What it does.
    pub fn task(&self) -> &Task {
        &self.task
    }
}

impl DisplayAs for Analyse {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Analyse: {}", self.task.name())
    }
}

impl ExecutionPlan for Analyse {
    fn name(&self) -> &'static str {
        "Analyse"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input =
            children.pop().ok_or_else(|| DataFusionError::Internal("an analyst without input".into()))?;
        Ok(Arc::new(Self::new(self.task.clone(), input)))
    }

    #[allow(deprecated)] // It has no default.
    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(DataFusionError::Internal(format!("an analyst has no partition {partition}")));
        }
        let rows = self.input.execute(0, context.clone())?;
        let objects = context.runtime_env().object_store(ObjectStoreUrl::parse(&self.task.base)?)?;
        let (task, schema) = (self.task.clone(), self.schema());
        let done = async move {
            let part = analyse(&task, rows, objects).await?;
            let said = serde_json::to_string(&part).map_err(|e| DataFusionError::External(e.into()))?;
            let column: ArrayRef = Arc::new(StringArray::from(vec![said]));
            Ok(RecordBatch::try_new(schema, vec![column])?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(done))))
    }
}

fn external(e: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

/// The share that is analysed.
struct Shift {
    share: u32,
    analyst: Analyst,
    /// What was told of late, for a store has what several told.
    twins: Twins,
    /// The record that came last: a record of two hosts of one share stands there twice.
    last: Option<(u32, u64)>,
}

async fn analyse(
    task: &Task,
    mut rows: SendableRecordBatchStream,
    objects: Arc<dyn object_store::ObjectStore>,
) -> Result<Part> {
    let mut writer = PartWriter::begin(task, objects.clone())?;
    let mut states = match &task.from {
        Some(part) => earlier(&objects, &task.prefix, part).await?,
        None => BTreeMap::new(),
    };
    let mut begin = |share: u32| -> Result<Shift> {
        let mut analyst = task.analyst(share).map_err(DataFusionError::Execution)?;
        if task.from.is_some() {
            let state = states.remove(&share).ok_or_else(|| {
                DataFusionError::Execution(format!("share {share} of the earlier analysis has no state"))
            })?;
            analyst.resume(&mut state.as_slice()).map_err(external)?;
        }
        Ok(Shift { share, analyst, twins: Twins::default(), last: None })
    };
    let mut shift = begin(task.shares.0)?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            let share = u32::from(columns.share.value(row));
            while shift.share < share {
                end(task, &mut shift, &mut writer).await?;
                shift = begin(shift.share + 1)?;
            }
            writer.read();
            let (run, seq) = (columns.run.value(row), columns.seq.value(row));
            if shift.last.replace((run, seq)) == Some((run, seq)) {
                continue;
            }
            let mut record: Record = postcard::from_bytes(columns.record.value(row)).map_err(external)?;
            let first = task.first_inputs.get(run as usize).copied().unwrap_or_default();
            record.renumber(first);
            // Of a row that stands at each end of its flow, or is told to every share, one counts.
            let counts = match columns.to.value(row) {
                WHOSE_IT_IS => columns.is_primary.value(row),
                to => to == 0,
            };
            if shift.twins.has(&record, Teller::of(&record), counts) {
                continue;
            }
            shift.analyst.observe(&record);
            writer.count(Timestamp(columns.known.value(row)));
        }
    }
    loop {
        end(task, &mut shift, &mut writer).await?;
        if shift.share + 1 >= task.shares.1 {
            break;
        }
        shift = begin(shift.share + 1)?;
    }
    writer.finish().await
}

/// All records of a share were seen.
async fn end(task: &Task, shift: &mut Shift, writer: &mut PartWriter) -> Result<()> {
    let mut state = Vec::new();
    shift.analyst.save(&mut state).map_err(external)?;
    if let Some(known) = task.known {
        shift.analyst.reach(known);
    }
    shift.analyst.settle(task.last);
    writer.share(shift.share, &shift.analyst.told(), &state, shift.twins.found()).await
}

struct Columns<'a> {
    share: &'a datafusion::arrow::array::PrimitiveArray<UInt8Type>,
    known: &'a datafusion::arrow::array::PrimitiveArray<TimestampNanosecondType>,
    run: &'a datafusion::arrow::array::PrimitiveArray<UInt32Type>,
    seq: &'a datafusion::arrow::array::PrimitiveArray<UInt64Type>,
    record: &'a datafusion::arrow::array::GenericBinaryArray<i64>,
    is_primary: &'a BooleanArray,
    to: &'a datafusion::arrow::array::PrimitiveArray<UInt8Type>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let made = || {
            Some(Self {
                share: batch.column_by_name(SHARE)?.as_primitive_opt()?,
                known: batch.column_by_name(KNOWN)?.as_primitive_opt()?,
                run: batch.column_by_name(RUN)?.as_primitive_opt()?,
                seq: batch.column_by_name(SEQ)?.as_primitive_opt()?,
                record: batch.column_by_name(RECORD)?.as_binary_opt()?,
                is_primary: batch.column_by_name(IS_PRIMARY)?.as_boolean_opt()?,
                to: batch.column_by_name(TO)?.as_primitive_opt()?,
            })
        };
        let schema: SchemaRef = batch.schema();
        made().ok_or_else(|| {
            DataFusionError::Execution(format!("the store's columns are of other types: {schema}"))
        })
    }
}
