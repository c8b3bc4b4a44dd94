//! The processes and devices that train one network data parallel: MPI processes, with the feature `mpi`, or this
//! process alone, with one or more devices.
//!
//! Each process computes its part of every batch. Batch-norm statistics are all-reduced, and so are the gradients after
//! the backward pass, so all processes take the same step; for the same batch size it is, up to rounding, the step of a
//! single process. Only rank 0 evaluates, writes files and reports.

use burn::tensor::{Device, Tensor, TensorData};
use dyconv_nn::Gradients;

use crate::error::TrainError;

#[cfg(not(feature = "mpi"))]
/// Environment variables in which MPI launchers store the number of processes.
const STARTERS: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// The position of this process among the processes that train together.
pub struct World {
    rank: usize,
    size: usize,
    /// The devices of this process, which share its part of a batch.
    devices: Vec<Device>,
    /// Finalizes MPI when it is dropped.
    #[cfg(feature = "mpi")]
    _universe: Option<mpi::environment::Universe>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} of {}", self.rank, self.size)
    }
}

impl World {
    /// Joins the processes started by `mpirun`; call it once, before training.
    ///
    /// # Errors
    /// If MPI cannot be started, or `mpirun` started several processes of a build without MPI.
    #[cfg(feature = "mpi")]
    pub fn start() -> Result<Self, TrainError> {
        use mpi::topology::Communicator;
        // Only the training thread calls MPI.
        let (universe, _) = mpi::initialize_with_threading(mpi::Threading::Serialized)
            .ok_or_else(|| TrainError::World("MPI is running in this process already".into()))?;
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        if size > 1 {
            dyconv_nn::enable_sync_batch_norm(all_reduce);
        }
        Ok(Self { rank, size, devices: vec![Device::flex()], _universe: Some(universe) })
    }

    /// This process alone.
    ///
    /// # Errors
    /// If `mpirun` started several processes: each would train the same network.
    #[cfg(not(feature = "mpi"))]
    pub fn start() -> Result<Self, TrainError> {
        let several = |name: &&&str| std::env::var(name).is_ok_and(|n| n.parse::<usize>().is_ok_and(|n| n > 1));
        match STARTERS.iter().find(several) {
            Some(name) => Err(TrainError::NoMpi(name)),
            None => Ok(Self::alone()),
        }
    }

    /// This process alone, even if it was started by `mpirun`.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            size: 1,
            devices: vec![Device::flex()],
            #[cfg(feature = "mpi")]
            _universe: None,
        }
    }

    /// The same processes on devices other than the CPU.
    ///
    /// # Errors
    /// If there are several processes: one process serves all GPUs.
    ///
    /// # Panics
    /// If `devices` is empty.
    pub fn on(self, devices: Vec<Device>) -> Result<Self, TrainError> {
        assert!(!devices.is_empty(), "a network is trained on some device");
        if self.size > 1 && devices != [Device::flex()] {
            return Err(TrainError::ProcessesOnDevices);
        }
        Ok(Self { devices, ..self })
    }

    /// The devices of this process that share its part of a batch.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Rank of this process, zero-based.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this is the process that writes files and reports: rank 0.
    pub fn is_leader(&self) -> bool {
        self.rank == 0
    }

    /// Ends all processes, because the others would wait for this one forever; returns if this is the only one.
    pub fn abort(&self) {
        #[cfg(feature = "mpi")]
        if self.size > 1 {
            use mpi::topology::Communicator;
            mpi::topology::SimpleCommunicator::world().abort(1);
        }
    }

    /// The sum of a number over all processes.
    pub(crate) fn total(&self, own: f64) -> f64 {
        let mut sum = [own];
        if self.size > 1 {
            all_reduce(&mut sum);
        }
        sum[0]
    }

    /// Whether `own` is true in any process; every process gets the result.
    pub(crate) fn any(&self, own: bool) -> bool {
        self.total(f64::from(u8::from(own))) > 0.0
    }

    /// Broadcasts the bytes of the leading process to all; those of the others are ignored.
    pub fn from_leader(&self, own: Vec<u8>) -> Vec<u8> {
        match self.size {
            1 => own,
            _ => broadcast(self.is_leader().then_some(own)),
        }
    }

    /// All-reduces the gradients: each is replaced by its sum over all processes.
    pub(crate) fn all_reduce_gradients(&self, gradients: Gradients) -> Gradients {
        if self.size == 1 {
            return gradients;
        }
        let vec = |t: &Tensor<1>| t.clone().into_data().try_into_vec::<f32>().expect("gradients are f32");
        let mut flat: Vec<f32> = gradients.0.iter().flatten().flat_map(vec).collect();
        all_reduce(&mut flat);
        let mut rest = &flat[..];
        let summed = gradients.0.into_iter().map(|gradient| {
            gradient.map(|old| {
                let own;
                (own, rest) = rest.split_at(old.dims()[0]);
                Tensor::from_data(TensorData::new(own.to_vec(), [own.len()]), &old.device())
            })
        });
        Gradients(summed.collect())
    }
}

#[cfg(feature = "mpi")]
fn all_reduce<T: mpi::traits::Equivalence + Copy + Default>(values: &mut [T]) {
    use mpi::traits::CommunicatorCollectives;
    let own = values.to_vec();
    let world = mpi::topology::SimpleCommunicator::world();
    world.all_reduce_into(&own[..], values, mpi::collective::SystemOperation::sum());
}

/// Broadcasts the bytes of the leader, which passes `Some`.
#[cfg(feature = "mpi")]
fn broadcast(bytes: Option<Vec<u8>>) -> Vec<u8> {
    use mpi::traits::{Communicator, Root};
    let world = mpi::topology::SimpleCommunicator::world();
    let leader = world.process_at_rank(0);
    let mut len = bytes.as_ref().map_or(0, Vec::len) as u64;
    leader.broadcast_into(&mut len);
    let mut bytes = bytes.unwrap_or_else(|| vec![0; len as usize]);
    // MPI counts have 32 bits.
    for piece in bytes.chunks_mut(1 << 30) {
        leader.broadcast_into(piece);
    }
    bytes
}

#[cfg(not(feature = "mpi"))]
fn broadcast(_: Option<Vec<u8>>) -> Vec<u8> {
    unreachable!("a single process broadcasts nothing")
}

#[cfg(not(feature = "mpi"))]
fn all_reduce<T>(_: &mut [T]) {
    unreachable!("a single process reduces nothing");
}
