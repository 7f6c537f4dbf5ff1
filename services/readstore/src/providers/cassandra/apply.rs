//! Writing.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};

use super::cluster::engine;
use super::model::CassandraModel;
use super::plan::{Plan, Put};
use super::value::{Value, big, number};
use crate::{Checkpoint, CheckpointKey, Error, Write};

/// Statements of a batch, which all go to one partition.
const BATCH_ROWS_MAX: usize = 100;
/// Bytes of a batch, unless a single row has more.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Stands for "no claim" in a row.
const NO_CLAIM: i64 = -1;

impl CassandraModel {
    /// Writes rows, then the heads that show them, then checkpoints, each part once the former is acknowledged.
    pub(super) async fn write(
        &self,
        writes: Vec<Write>,
        checkpoints: Vec<(CheckpointKey, Checkpoint)>,
    ) -> Result<(), Error> {
        let (rows, groups) = Plan::of(writes)?.into_parts();
        self.write_all(rows).await?;
        self.write_all(groups).await?;
        let checkpoints = checkpoints.into_iter().map(|(key, checkpoint)| put_checkpoint(key, &checkpoint));
        self.write_all(vec![checkpoints.collect()]).await
    }

    async fn write_all(&self, partitions: Vec<Vec<Put>>) -> Result<(), Error> {
        let batches = partitions.into_iter().flat_map(batches);
        stream::iter(batches)
            .map(|batch| self.write_batch(batch))
            .buffer_unordered(self.in_flight_max())
            .try_collect()
            .await
    }

    async fn write_batch(&self, mut puts: Vec<Put>) -> Result<(), Error> {
        let session = self.cluster().session();
        if puts.len() == 1
            && let Some(Put { pick, values }) = puts.pop()
        {
            session.execute_unpaged(pick(self.statements()), values).await.map_err(engine)?;
            return Ok(());
        }
        let mut statements = Vec::with_capacity(puts.len());
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(puts.len());
        for put in puts {
            statements.push(BatchStatement::PreparedStatement((put.pick)(self.statements()).clone()));
            values.push(put.values);
        }
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        session.batch(&batch, values).await.map_err(engine)?;
        Ok(())
    }

    pub(super) async fn read_checkpoints(&self) -> Result<Vec<(CheckpointKey, Checkpoint)>, Error> {
        type Row = (i8, i32, i64, i64, i64);
        let rows = self.cluster().rows::<Row>(&self.statements().checkpoints, ()).await?;
        let checkpoint = |(topic, partition, offset, claim, next_index): Row| {
            const DAMAGED: Error = Error::Damaged("a checkpoint");
            let key =
                (u8::try_from(topic).map_err(|_| DAMAGED)?, u32::try_from(partition).map_err(|_| DAMAGED)?);
            let claim = if claim == NO_CLAIM { None } else { Some(number(claim)?) };
            let validity = parley_domain::Validity { claim, next_index: number(next_index)? };
            Ok((key, Checkpoint { offset: number(offset)?, validity }))
        };
        rows.into_iter().map(checkpoint).collect()
    }
}

fn put_checkpoint((topic, partition): CheckpointKey, checkpoint: &Checkpoint) -> Put {
    let Checkpoint { offset, validity } = checkpoint;
    let values = vec![
        Value::Tiny(i8::try_from(topic).unwrap_or(i8::MAX)),
        Value::Int(i32::try_from(partition).unwrap_or(i32::MAX)),
        Value::seq(*offset),
        Value::Big(validity.claim.map_or(NO_CLAIM, big)),
        Value::seq(validity.next_index),
        // So that a projector that was thought dead can't move it back.
        Value::seq(*offset),
    ];
    Put { pick: |all| &all.put_checkpoint, values }
}

/// Statements for one partition as batches of a bounded size.
fn batches(puts: Vec<Put>) -> Vec<Vec<Put>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for put in puts {
        let len = put.bytes();
        if !batch.is_empty() && (batch.len() == BATCH_ROWS_MAX || bytes + len > BATCH_BYTES_MAX) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += len;
        batch.push(put);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded() {
        let put =
            |len: usize| Put { pick: |all| &all.put_event, values: vec![Value::Blob(vec![0; len].into())] };
        let lens = |puts: Vec<Put>| batches(puts).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lens(Vec::new()), [0; 0]);
        assert_eq!(lens(vec![put(1); 250]), [100, 100, 50]);
        assert_eq!(lens(vec![put(40_000); 3]), [1, 1, 1]);
        assert_eq!(lens(vec![put(1), put(100_000), put(1)]), [1, 1, 1], "one that is too large goes alone");
    }
}
