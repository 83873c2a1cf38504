// SPDX-License-Identifier: GPL-2.0

//! NAPI contexts.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)
//!
//! A [`Napi`] owns the data its poll function works on and lends it out exclusively: the kernel
//! runs one poll of a context at a time, and the control path gets at the data only while the
//! context is disabled. No lock is taken for that, the kernel's own scheduling bit is the lock.

use crate::{
    bindings,
    net::{
        netdevice::{Locked, NetDevice, QueueType},
        skbuff::SkBuff, //
    },
};
use core::{
    cell::UnsafeCell,
    marker::{PhantomData, PhantomPinned},
    mem::{offset_of, ManuallyDrop},
    ops::{Deref, DerefMut},
    ptr::{self, NonNull}, //
};
use kernel::{prelude::*, sync::Arc, types::Opaque};

/// The work of one NAPI context.
pub trait Handler: Send + 'static {
    /// Unmasks the context's interrupt.
    type Line: Line;

    /// Processes completions.
    ///
    /// Softirq or NAPI thread, bottom halves disabled; must not sleep.
    fn poll(&mut self, napi: &PollContext<'_>, budget: Budget) -> WorkDone;
}

/// The interrupt of a NAPI context.
///
/// It is apart from the [`Handler`], which may be lent to the next poll, on another processor, as soon
/// as the kernel was told that this one is over.
pub trait Line: Send + Sync + 'static {
    /// Lets the interrupt come once more. Softirq or NAPI thread, bottom halves disabled.
    fn rearm(&self);
}

/// How many packets one poll may receive.
///
/// Not copyable, so that every poll ends with exactly one of the two methods that take it.
pub struct Budget(u32);

/// Proof that a poll ended by the rules, with the number of packets to report.
///
/// # Invariants
///
/// At most the budget of the poll. All work is done if it is less.
pub struct WorkDone(u32);

impl Budget {
    /// Returns the number of packets that may be received.
    ///
    /// 0 means that netpoll calls: only transmit completions may be processed.
    #[inline]
    pub fn limit(&self) -> u32 {
        self.0
    }

    /// Ends the poll with more work to do: the kernel will poll again.
    #[inline]
    pub fn exhausted(self) -> WorkDone {
        // INVARIANT: That is the budget.
        WorkDone(self.0)
    }

    /// Ends the poll with all work done after `work_done` packets, so that the interrupt is unmasked
    /// when it has to be.
    ///
    /// If `work_done` used up the budget the kernel polls again instead.
    #[inline]
    pub fn complete(self, work_done: u32) -> WorkDone {
        // INVARIANT: No more than the budget.
        WorkDone(work_done.min(self.0))
    }
}

/// The NAPI context that is being polled.
///
/// # Invariants
///
/// Points to a context whose poll function is running on this CPU.
pub struct PollContext<'a> {
    napi: *mut bindings::napi_struct,
    direct: bool,
    _poll: PhantomData<&'a ()>,
}

impl PollContext<'_> {
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::napi_struct {
        self.napi
    }

    /// Returns the network device of the context.
    #[inline]
    pub fn device(&self) -> &NetDevice {
        // SAFETY: By the type invariant. The device outlives its NAPI contexts.
        unsafe { NetDevice::from_ptr((*self.napi).dev) }
    }

    /// Returns whether page pools may recycle straight into their lockless cache.
    ///
    /// False when netpoll calls, which may do so from any context.
    #[inline]
    pub fn recycle_direct(&self) -> bool {
        self.direct
    }

    /// Returns an empty packet to be made of pieces, with memory of its own for headers.
    ///
    /// Returns `None` without memory. There is one at a time, which stays with the context if it is
    /// dropped, and mostly comes back from generic receive offload.
    #[inline(always)]
    pub(super) fn packet_of_pieces(&self) -> Option<PacketOfPieces<'_>> {
        // SAFETY: By the type invariant.
        let skb = NonNull::new(unsafe { bindings::napi_get_frags(self.napi) })?;
        // INVARIANT: That is what the function returns.
        Some(PacketOfPieces {
            // SAFETY: A valid packet that nobody else has; the context keeps the reference.
            skb: unsafe { SkBuff::borrow_raw(skb) },
            napi: self,
        })
    }

    /// Hands a received packet to the stack through generic receive offload.
    #[inline]
    pub fn gro_receive(&self, skb: SkBuff) {
        // SAFETY: By the type invariant. The reference to the packet is given away.
        unsafe { bindings::gro_receive_skb(&raw mut (*self.napi).gro, skb.into_raw()) };
    }
}

/// The packet of a context that is made of pieces.
///
/// # Invariants
///
/// It is the one that the context keeps. Nothing of it has been filled in, or all of it.
pub(super) struct PacketOfPieces<'a> {
    skb: ManuallyDrop<SkBuff>,
    napi: &'a PollContext<'a>,
}

impl Deref for PacketOfPieces<'_> {
    type Target = SkBuff;

    #[inline(always)]
    fn deref(&self) -> &SkBuff {
        &self.skb
    }
}

impl DerefMut for PacketOfPieces<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut SkBuff {
        &mut self.skb
    }
}

impl PacketOfPieces<'_> {
    /// Hands the packet, which must have been filled, to the stack.
    #[inline(always)]
    pub(super) fn gro_receive(self) {
        // SAFETY: By the type invariant the context has a packet, and it is being polled.
        unsafe { bindings::napi_gro_frags(self.napi.as_ptr()) };
    }
}

/// The part of a context that interrupt handlers share.
#[pin_data]
struct Inner<H: Handler> {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    /// Goes with the `Napi`, before the context does.
    handler: UnsafeCell<ManuallyDrop<H>>,
    line: H::Line,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `handler` is only accessed by the poll function, one at a time and until it tells the kernel
// that it is over, and by the owner of the `Napi` while it is disabled, who waited for that. `napi` is
// the kernel's and made for use from several CPUs.
unsafe impl<H: Handler> Send for Inner<H> {}
// SAFETY: As above, and `line` may be shared.
unsafe impl<H: Handler> Sync for Inner<H> {}

/// A NAPI context with the data its poll function works on.
///
/// Dropping it disables the context and removes it from the device. The netdev lock must be held
/// for that, as for every method that takes [`Locked`].
///
/// # Invariants
///
/// The context is added to its device. It is enabled exactly if `enabled` is set.
pub struct Napi<H: Handler> {
    inner: Arc<Inner<H>>,
    enabled: bool,
    /// The queues user space is told that this context serves.
    queues: KVec<(QueueType, u32)>,
}

impl<H: Handler> Napi<H> {
    /// Adds a context to `dev`, disabled, with the persistent configuration number `index`.
    ///
    /// `irq` is the Linux interrupt number user space is told, and `line` unmasks that interrupt.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINVAL` if the device has no configuration of that number.
    pub fn new(
        dev: &Locked<'_>,
        index: u32,
        irq: Option<u32>,
        line: H::Line,
        handler: H,
    ) -> Result<Self> {
        if index >= dev.max_napi() {
            return Err(EINVAL);
        }
        let inner = Arc::pin_init(
            pin_init!(Inner {
                // The kernel initializes every field it looks at when the context is added, but
                // expects the memory to be zero.
                napi <- Opaque::ffi_init(|slot: *mut bindings::napi_struct| {
                    // SAFETY: `slot` is valid for writing, and all zeroes are a valid value.
                    unsafe { ptr::write_bytes(slot, 0, 1) }
                }),
                handler: UnsafeCell::new(ManuallyDrop::new(handler)),
                line,
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        let napi = inner.napi.get();
        // SAFETY: The netdev lock is held, `index` is in range, and `napi` stays where it is until
        // `drop` removes it.
        unsafe {
            bindings::netif_napi_add_config_locked(
                dev.as_ptr(),
                napi,
                Some(poll_callback::<H>),
                index as i32,
            )
        };
        if let Some(irq) = irq {
            // SAFETY: The context was just added, and the netdev lock is held.
            unsafe { bindings::netif_napi_set_irq_locked(napi, irq as i32) };
        }
        // INVARIANT: The context was added, and contexts start disabled.
        Ok(Self {
            inner,
            enabled: false,
            queues: KVec::new(),
        })
    }

    /// Allows polling. The interrupt handler may schedule the context from here on.
    pub fn enable(&mut self, _dev: &Locked<'_>) {
        if !self.enabled {
            self.enabled = true;
            // SAFETY: By the type invariant, and the netdev lock is held.
            unsafe { bindings::napi_enable_locked(self.inner.napi.get()) };
        }
    }

    /// Waits for a running poll and forbids further ones.
    pub fn disable(&mut self, _dev: &Locked<'_>) {
        self.disable_unlocked();
    }

    fn disable_unlocked(&mut self) {
        if self.enabled {
            // SAFETY: By the type invariant, and the callers hold the netdev lock.
            unsafe { bindings::napi_disable_locked(self.inner.napi.get()) };
            self.enabled = false;
        }
    }

    /// Returns the handler, or `None` while the context is enabled.
    pub fn handler_mut(&mut self) -> Option<&mut H> {
        if self.enabled {
            return None;
        }
        // SAFETY: By the type invariant the context is disabled, so no poll runs, and `self` is
        // the only owner that can enable it.
        Some(unsafe { &mut *self.inner.handler.get() })
    }

    /// Tells user space that queue `index` is served by this context, until it is dropped.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the context's device is not `dev` or has no such queue, `ENOMEM`.
    pub fn set_queue(&mut self, dev: &Locked<'_>, kind: QueueType, index: u32) -> Result {
        // SAFETY: By the type invariant the context is added, so the kernel has set the field.
        let own = unsafe { (*self.inner.napi.get()).dev };
        if own != dev.as_ptr() || index >= dev.num_queues(kind) {
            return Err(EINVAL);
        }
        self.queues.push((kind, index), GFP_KERNEL)?;
        // SAFETY: By the type invariant, and the index was checked just now.
        unsafe { self.name_queue(kind, index, self.inner.napi.get()) };
        Ok(())
    }

    /// Tells user space which context serves a queue, or with null that none does.
    ///
    /// # Safety
    ///
    /// The device must have the queue, and `napi` be null or this context.
    unsafe fn name_queue(&self, kind: QueueType, index: u32, napi: *mut bindings::napi_struct) {
        // SAFETY: By the type invariant the context is added, so its device is alive; the rest is
        // required of the caller.
        unsafe {
            bindings::netif_queue_set_napi(
                (*self.inner.napi.get()).dev,
                index,
                kind as bindings::netdev_queue_type,
                napi,
            )
        };
    }

    /// Returns a handle with which an interrupt handler starts polling.
    pub fn scheduler(&self) -> Scheduler<H> {
        Scheduler(self.inner.clone())
    }

    /// Returns a reference to the context together with its handler, or `None` while enabled.
    pub fn split_mut(&mut self) -> Option<(NapiHandle<'_>, &mut H)> {
        // INVARIANT: The context is added as long as `self` exists.
        let handle = NapiHandle {
            napi: self.inner.napi.get(),
            _napi: PhantomData,
        };
        self.handler_mut().map(|handler| (handle, handler))
    }

    /// Starts polling, from a context other than the interrupt handler.
    pub fn schedule(&self) {
        let napi = self.inner.napi.get();
        // SAFETY: By the type invariant.
        unsafe {
            if bindings::napi_schedule_prep(napi) {
                bindings::__napi_schedule(napi);
            }
        }
    }
}

impl<H: Handler> Drop for Napi<H> {
    fn drop(&mut self) {
        self.disable_unlocked();
        for &(kind, index) in &self.queues {
            // SAFETY: `set_queue` has checked the index.
            unsafe { self.name_queue(kind, index, ptr::null_mut()) };
        }
        // Whoever gives a page back looks at the context of the page's pool. So the pools go first, and
        // removing the context waits for those who still look.
        // SAFETY: The context is disabled, so no poll has the handler, and it never gets one again.
        // This is the only place where it is dropped.
        unsafe { ManuallyDrop::drop(&mut *self.inner.handler.get()) };
        // SAFETY: By the type invariant the context is added, and it is disabled now. A context
        // that is still scheduled by a late interrupt stays disabled, its memory lives on in the
        // handler's `Scheduler`.
        unsafe { bindings::netif_napi_del_locked(self.inner.napi.get()) };
    }
}

/// Stands for a NAPI context that is added to its device.
///
/// # Invariants
///
/// The context stays added during `'a`.
#[derive(Clone, Copy)]
pub struct NapiHandle<'a> {
    napi: *mut bindings::napi_struct,
    _napi: PhantomData<&'a ()>,
}

impl NapiHandle<'_> {
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::napi_struct {
        self.napi
    }

    /// Returns the identifier the kernel gave the context.
    pub fn id(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.napi).napi_id }
    }
}

/// Lets an interrupt handler start a context's poll.
pub struct Scheduler<H: Handler>(Arc<Inner<H>>);

impl<H: Handler> Scheduler<H> {
    /// Starts polling, unless the context is scheduled already or disabled.
    ///
    /// Hard interrupt context, interrupts disabled.
    #[inline]
    pub fn schedule_irqoff(&self) {
        let napi = self.0.napi.get();
        // SAFETY: The context was added to its device when this handle was made. After it was
        // removed it is disabled, and the first function then returns false.
        unsafe {
            if bindings::napi_schedule_prep(napi) {
                bindings::__napi_schedule_irqoff(napi);
            }
        }
    }
}

/// # Safety
///
/// Only as the poll function of a context that is the `napi` field of an `Inner<H>`.
unsafe extern "C" fn poll_callback<H: Handler>(
    napi: *mut bindings::napi_struct,
    budget: i32,
) -> i32 {
    // CAST: Not negative, whatever the kernel says.
    let limit = budget.max(0) as u32;
    // SAFETY: By the requirements of this function, `napi` lies inside an `Inner<H>`, which lives
    // until removing the context has waited for this function.
    let inner = unsafe { &*napi.byte_sub(offset_of!(Inner<H>, napi)).cast::<Inner<H>>() };
    // INVARIANT: The poll function of `napi` is running.
    let context = PollContext {
        napi,
        direct: budget > 0,
        _poll: PhantomData,
    };
    // SAFETY: The poll function runs only while the context is enabled, and not a second time before
    // the call below that ends it, so nobody else accesses the handler until then.
    let handler = unsafe { &mut *inner.handler.get() };
    // CAST: At most the budget, which is an `int`.
    let done = handler.poll(&context, Budget(limit)).0 as i32;
    // SAFETY: `napi` is the context that is being polled, and its handler is not used any more.
    if done < budget && unsafe { bindings::napi_complete_done(napi, done) } {
        inner.line.rearm();
    }
    done
}
