// SPDX-License-Identifier: GPL-2.0

//! The queues of an open interface with their NAPI contexts and interrupts.
//!
//! | type         | stands for                                                       |
//! |--------------|------------------------------------------------------------------|
//! | [`Queues`]   | allocated memory, unknown to device and stack                    |
//! | [`Datapath`] | NAPI contexts and interrupts around it, quiet until [`Datapath::up`] |
//!
//! A [`Datapath`] that is up must be taken down before it is dropped. If it is not, its parts
//! still stop the device before they free memory, but they do so one by one.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::FbnicNet;
use crate::{
    fbnic_csr::intr,
    fbnic_debugfs::RingFiles,
    fbnic_dev::Fbnic,
    fbnic_irq::{
        request_napi_irq,
        LostInterrupt,
        NapiIrq, //
    },
    fbnic_txrx::{
        self,
        vector_layout,
        Config,
        NapiVector,
        Shared,
        TxProducer,
        VectorLayout,
        VectorSet, //
    },
    net::{
        napi::Napi,
        netdevice::{
            Locked,
            QueueType, //
        }, //
    },
    pci::IrqVectors, //
};

/// The producer side of a transmit queue, and the number of the queue.
struct Producer {
    index: u32,
    /// [`None`] while the stack has it.
    ring: Option<KBox<TxProducer>>,
}

/// Memory of all queues of a configuration.
pub(super) struct Queues {
    config: Config,
    vectors: KVec<(VectorLayout, NapiVector)>,
    producers: KVec<Producer>,
}

impl Queues {
    /// Allocates the queues. Netdev lock held; touches neither the device nor the stack.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINVAL` for sizes the device does not have.
    pub(super) fn new(net: &FbnicNet, dev: &Locked<'_>, config: &Config) -> Result<Self> {
        let shared = Shared {
            tx_stats: &net.tx_stats,
            rx_stats: &net.rx_stats,
            program: &net.xdp_program,
        };
        let mut vectors = KVec::new();
        let mut producers = KVec::new();
        for layout in vector_layout(config) {
            let (vector, rings) = NapiVector::new(
                &net.fbnic,
                dev,
                dev.bound_device(),
                config,
                &layout,
                &shared,
            )?;
            vectors.push((layout, vector), GFP_KERNEL)?;
            for (index, ring) in rings {
                let producer = Producer {
                    index: index.into(),
                    ring: Some(KBox::new(ring, GFP_KERNEL)?),
                };
                producers.push(producer, GFP_KERNEL)?;
            }
        }
        Ok(Self {
            config: *config,
            vectors,
            producers,
        })
    }
}

/// A NAPI context with its interrupt. Fields are dropped in order: first those go who look at the queues,
/// then the interrupt.
struct Context {
    _files: Option<RingFiles>,
    _irq: NapiIrq,
    vector: fbnic_txrx::Vector,
    napi: Napi<NapiVector>,
    lost: LostInterrupt,
}

/// The data path of an open interface.
///
/// All methods need the netdev lock, and so does dropping.
pub(super) struct Datapath {
    contexts: KVec<Context>,
    producers: KVec<Producer>,
    config: Config,
    fbnic: Arc<Fbnic>,
    is_up: bool,
}

impl Datapath {
    /// Gives `queues` their NAPI contexts and interrupts, and tells the stack about them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINVAL` if there are fewer interrupt vectors than the configuration needs, or
    /// what `request_irq` returns.
    pub(super) fn new(
        net: &FbnicNet,
        dev: &Locked<'_>,
        irqs: &Arc<IrqVectors>,
        queues: Queues,
    ) -> Result<Self> {
        let Queues {
            config,
            vectors,
            producers,
        } = queues;
        let mut contexts = KVec::with_capacity(vectors.len(), GFP_KERNEL)?;
        for (layout, queues) in vectors {
            let context = Context::new(net, dev, irqs, &layout, queues)?;
            contexts.push(context, GFP_KERNEL)?;
        }
        dev.set_real_num_queues(config.num_tx.into(), config.num_rx.into())?;
        Ok(Self {
            contexts,
            producers,
            config,
            fbnic: net.fbnic.clone(),
            is_up: false,
        })
    }

    /// Starts the queues in the device and posts receive buffers; nothing is processed yet.
    pub(super) fn enable(&mut self, tx_pause: bool) {
        let config = self.config;
        self.each_queues(|queues| queues.enable(&config, tx_pause));
        // The doorbells that follow must not overtake the set-up.
        self.fbnic.csr.flush();
        self.each_queues(NapiVector::fill);
    }

    /// Lets packets flow in both directions. After [`Self::enable`].
    pub(super) fn up(&mut self, dev: &Locked<'_>) -> Result {
        self.is_up = true;
        for producer in &mut self.producers {
            if let Some(ring) = producer.ring.take() {
                dev.install_tx_queue::<FbnicNet>(producer.index, ring)?;
            }
        }
        let mut vectors = VectorSet::default();
        for context in &mut self.contexts {
            context.napi.enable(dev);
            context.vector.unmask(&self.config);
            vectors.insert(context.vector.index());
        }
        // Whatever came in while the vectors were masked raises no interrupt by itself.
        fbnic_txrx::kick(&self.fbnic, &vectors, false);
        dev.wake_all_tx_queues();
        Ok(())
    }

    /// Stops processing, in the opposite order of [`Self::up`]. The device still runs.
    pub(super) fn quiesce(&mut self, dev: &Locked<'_>) {
        self.is_up = false;
        for context in &mut self.contexts {
            context.napi.disable(dev);
            context.vector.mask();
        }
        dev.tx_disable();
        for producer in &mut self.producers {
            if let Some(ring) = dev.remove_tx_queue::<FbnicNet>(producer.index) {
                producer.ring = Some(ring);
            }
        }
    }

    /// Stops the queues in the device and throws away what is left in them.
    pub(super) fn disable(&mut self, dev: &Locked<'_>) {
        self.each_queues(NapiVector::disable);
        self.fbnic.csr.flush();
        // What keeps a queue busy has been logged.
        let idle = fbnic_txrx::wait_all_queues_idle(&self.fbnic).is_ok();
        if !self.is_let_go(idle) {
            fbnic_txrx::give_up(&self.fbnic);
        }
        self.each_queues(|queues| queues.flush(dev));
        let mut producers = core::mem::take(&mut self.producers);
        for ring in producers.iter_mut().filter_map(|p| p.ring.as_mut()) {
            self.each_queues(|queues| queues.rewind(ring));
        }
        self.producers = producers;
    }

    /// Returns whether the memory of the queues, which were told to stop, may go.
    ///
    /// The device may not have heard of it, or not answer. Queues that say they are busy are reset while
    /// the device cannot touch memory.
    fn is_let_go(&mut self, idle: bool) -> bool {
        let mut stopped = true;
        self.each_queues(|queues| stopped = stopped && queues.is_stopped());
        if !stopped || idle {
            return stopped;
        }
        let fbnic = self.fbnic.clone();
        fbnic.without_dma(|| {
            self.each_queues(|queues| stopped = stopped && queues.reset());
            stopped
        })
    }

    /// Gives interrupts, NAPI contexts and queues back. They must be down.
    pub(super) fn release(&mut self) {
        self.contexts = KVec::new();
        self.producers = KVec::new();
    }

    /// Returns whether packets may be flowing.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Returns the configuration the queues were made for.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Sets the moderation of the interrupts, while packets flow.
    pub(super) fn set_moderation(&mut self, dev: &Locked<'_>, config: &Config) {
        let frames_changed = self.config.rx_max_frames != config.rx_max_frames;
        self.config.rx_usecs = config.rx_usecs;
        self.config.tx_usecs = config.tx_usecs;
        self.config.rx_max_frames = config.rx_max_frames;
        for context in &self.contexts {
            context.vector.set_moderation(&self.config);
        }
        if !frames_changed {
            return;
        }
        let config = self.config;
        for context in &mut self.contexts {
            // Only who holds a context disabled may touch its queues.
            let enabled = context.napi.handler_mut().is_none();
            context.napi.disable(dev);
            if let Some(queues) = context.napi.handler_mut() {
                queues.set_rx_frames(&config);
            }
            if enabled {
                context.napi.enable(dev);
                // Completions may have come in meanwhile, whose interrupt was not heard.
                context.napi.schedule();
            }
        }
    }

    /// Makes the vectors interrupt whose receive queues ran out of buffers.
    pub(super) fn rescue(&self, is_starved: impl Fn(u16) -> bool) {
        let mut vectors = VectorSet::default();
        let mut any = false;
        for layout in vector_layout(&self.config) {
            if layout.rxqs().any(&is_starved) {
                vectors.insert(layout.vector());
                any = true;
            }
        }
        if any {
            fbnic_txrx::kick(&self.fbnic, &vectors, true);
        }
    }

    /// Polls the contexts whose interrupt was lost.
    ///
    /// Polling one that is polled already changes nothing.
    pub(super) fn recover_lost_interrupts(&self) {
        let mut word = None;
        for (layout, context) in vector_layout(&self.config).zip(&self.contexts) {
            // CAST: At most 255.
            let vector = layout.vector() as usize;
            let number = vector / 32;
            let masked = match word {
                Some((read, masked)) if read == number => masked,
                _ => self.fbnic.csr.read32(intr::intr_mask(number)),
            };
            word = Some((number, masked));
            if context.lost.look(masked & 1 << (vector % 32) != 0) {
                context.napi.schedule();
            }
        }
    }

    /// Calls `f` with the queues of each context, which must be disabled.
    fn each_queues(&mut self, mut f: impl FnMut(&mut NapiVector)) {
        self.contexts
            .iter_mut()
            .filter_map(|context| context.napi.handler_mut())
            .for_each(&mut f);
    }
}

impl Context {
    fn new(
        net: &FbnicNet,
        dev: &Locked<'_>,
        irqs: &Arc<IrqVectors>,
        layout: &VectorLayout,
        queues: NapiVector,
    ) -> Result<Self> {
        let index = layout.vector();
        let irq = irqs.irq(index)?;
        let vector = queues.vector().clone();
        let mut napi = Napi::new(dev, layout.napi.into(), Some(irq), vector.clone(), queues)?;
        let (handle, queues) = napi.split_mut().ok_or(EBUSY)?;
        queues.bind(dev, handle)?;
        let rings = queues.dumps(layout);
        for queue in layout.txqs() {
            napi.set_queue(dev, QueueType::Tx, queue.into())?;
        }
        for queue in layout.rxqs() {
            napi.set_queue(dev, QueueType::Rx, queue.into())?;
        }
        let irq = request_napi_irq(irqs, index, layout.napi, dev.name(), napi.scheduler())?;
        // Last, as in a context. Nothing depends on there being files to look at.
        let files = rings.and_then(|rings| RingFiles::new(&net.fbnic, index, rings));
        Ok(Self {
            _files: files.ok(),
            _irq: irq,
            vector,
            napi,
            lost: LostInterrupt::new(),
        })
    }
}
