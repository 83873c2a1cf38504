// SPDX-License-Identifier: GPL-2.0

//! Temperature and voltage in sysfs, as the firmware measures them.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

use crate::{
    fbnic_dev::Fbnic,
    hwmon::{
        Chip,
        Registration,
        Sensor, //
    }, //
};

impl Chip for Arc<Fbnic> {
    fn read(fbnic: ArcBorrow<'_, Fbnic>, sensor: Sensor) -> Result<i64> {
        let sensors = fbnic.fw_sensors()?;
        Ok(i64::from(match sensor {
            Sensor::Temperature => sensors.millidegrees,
            Sensor::Voltage => sensors.millivolts,
        }))
    }
}

/// The sensors of an adapter, until it is dropped.
pub(crate) type Hwmon = Registration<Arc<Fbnic>>;

/// Shows the sensors below `dev`. An adapter works without, so a failure is only logged.
pub(crate) fn register(dev: &Device<Bound>, fbnic: Arc<Fbnic>) -> Option<Hwmon> {
    Hwmon::new(dev, c"fbnic", fbnic)
        .inspect_err(|error| dev_notice!(dev, "cannot register sensors: {:?}\n", error))
        .ok()
}
