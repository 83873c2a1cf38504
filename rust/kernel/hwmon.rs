// SPDX-License-Identifier: GPL-2.0

//! Hardware monitoring: one temperature and one voltage.
//!
//! C header: [`include/linux/hwmon.h`](srctree/include/linux/hwmon.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    device::{
        Bound,
        Device, //
    },
    error::{
        from_err_ptr,
        from_result, //
    },
    prelude::*,
    types::ForeignOwnable, //
};

use crate::bindings;

/// A sensor a chip can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensor {
    /// Temperature, read in thousandths of a degree Celsius.
    Temperature,
    /// Voltage, read in thousandths of a volt.
    Voltage,
}

/// A chip that has one sensor of each kind.
pub trait Chip: ForeignOwnable + Send + Sync {
    /// Reads a sensor, in the unit of its kind. Process context; may sleep.
    fn read(chip: Self::Borrowed<'_>, sensor: Sensor) -> Result<i64>;
}

/// A chip that userspace can see in sysfs until this is dropped.
///
/// # Invariants
///
/// `hwmon` is a registered hwmon device whose driver data is `data`, which came from
/// [`ForeignOwnable::into_foreign`] of a `T`.
pub struct Registration<T: Chip> {
    hwmon: NonNull<bindings::device>,
    data: NonNull<c_void>,
    _chip: PhantomData<T>,
}

// SAFETY: A registration may be dropped by any thread, and `T` is `Send`.
unsafe impl<T: Chip> Send for Registration<T> {}

// SAFETY: Nothing can be done with a shared registration.
unsafe impl<T: Chip> Sync for Registration<T> {}

impl<T: Chip> Registration<T> {
    /// Registers `chip` as a child of `parent`, which must stay bound until this is dropped.
    ///
    /// # Errors
    ///
    /// Those of `hwmon_device_register_with_info()`, for example `EINVAL` for a name with a dash.
    pub fn new(parent: &Device<Bound>, name: &'static CStr, chip: T) -> Result<Self> {
        let foreign = chip.into_foreign();
        // SAFETY: `parent` is a valid device, `name` and the tables live forever; `foreign` stays
        // valid until `drop`, which unregisters the device first.
        let hwmon = from_err_ptr(unsafe {
            bindings::hwmon_device_register_with_info(
                core::ptr::from_ref(parent).cast_mut().cast(),
                name.as_char_ptr(),
                foreign,
                &Table::<T>::CHIP.0,
                core::ptr::null_mut(),
            )
        });
        let outcome = hwmon.and_then(|hwmon| Ok((hwmon, NonNull::new(foreign).ok_or(EINVAL)?)));
        match outcome.and_then(|(hwmon, data)| Ok((NonNull::new(hwmon).ok_or(EINVAL)?, data))) {
            // INVARIANT: As just registered.
            Ok((hwmon, data)) => Ok(Self {
                hwmon,
                data,
                _chip: PhantomData,
            }),
            Err(error) => {
                // SAFETY: `foreign` came from `into_foreign` and nobody else has it: the
                // registration failed.
                drop(unsafe { T::from_foreign(foreign) });
                Err(error)
            }
        }
    }
}

impl<T: Chip> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the device is registered. This waits for reads under way.
        unsafe { bindings::hwmon_device_unregister(self.hwmon.as_ptr()) };
        // SAFETY: By the type invariants `data` came from `into_foreign`; no callback can use it
        // any more.
        drop(unsafe { T::from_foreign(self.data.as_ptr()) });
    }
}

/// A constant table with pointers to other constants.
#[repr(transparent)]
struct Constant<T>(T);

// SAFETY: The tables are never written to, and the pointers in them lead to constants.
unsafe impl<T> Sync for Constant<T> {}

/// Ends with a zero; the bit of the attribute `input`, which has the same number for both kinds.
const CHANNELS: [u32; 2] = [1 << bindings::hwmon_temp_attributes_hwmon_temp_input, 0];

const _: () = assert!(
    bindings::hwmon_temp_attributes_hwmon_temp_input
        == bindings::hwmon_in_attributes_hwmon_in_input
);

static CHANNEL_CONFIG: [u32; 2] = CHANNELS;

static TEMPERATURE: Constant<bindings::hwmon_channel_info> =
    Constant(bindings::hwmon_channel_info {
        type_: bindings::hwmon_sensor_types_hwmon_temp,
        config: CHANNEL_CONFIG.as_ptr(),
    });

static VOLTAGE: Constant<bindings::hwmon_channel_info> = Constant(bindings::hwmon_channel_info {
    type_: bindings::hwmon_sensor_types_hwmon_in,
    config: CHANNEL_CONFIG.as_ptr(),
});

static INFO: Constant<[*const bindings::hwmon_channel_info; 3]> =
    Constant([&TEMPERATURE.0, &VOLTAGE.0, core::ptr::null()]);

/// The tables for chips of type `T`.
struct Table<T>(PhantomData<T>);

impl<T: Chip> Table<T> {
    const OPS: &'static Constant<bindings::hwmon_ops> = &Constant(bindings::hwmon_ops {
        // All there is can be read by everybody.
        visible: 0o444,
        is_visible: None,
        read: Some(Self::read_callback),
        read_string: None,
        write: None,
    });

    const CHIP: &'static Constant<bindings::hwmon_chip_info> =
        &Constant(bindings::hwmon_chip_info {
            ops: &Self::OPS.0,
            info: INFO.0.as_ptr(),
        });

    /// # Safety
    ///
    /// `dev` must be the hwmon device of a [`Registration<T>`], and `val` valid for a write.
    unsafe extern "C" fn read_callback(
        dev: *mut bindings::device,
        kind: bindings::hwmon_sensor_types,
        _attr: u32,
        _channel: c_int,
        val: *mut c_long,
    ) -> c_int {
        from_result(|| {
            let sensor = match kind {
                bindings::hwmon_sensor_types_hwmon_temp => Sensor::Temperature,
                bindings::hwmon_sensor_types_hwmon_in => Sensor::Voltage,
                _ => return Err(EOPNOTSUPP),
            };
            // SAFETY: By the safety requirement the driver data is that of a registration, which
            // is not dropped before the device is unregistered.
            let chip = unsafe { T::borrow((*dev).driver_data) };
            let value = T::read(chip, sensor)?;
            // SAFETY: By the safety requirement `val` is valid for a write.
            unsafe { val.write(c_long::try_from(value)?) };
            Ok(0)
        })
    }
}
