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
    fbnic_fw::CallError,
    hwmon::{
        Chip,
        Registration,
        Sensor, //
    },
    net, //
};

impl Chip for Arc<Fbnic> {
    fn read(fbnic: ArcBorrow<'_, Fbnic>, sensor: Sensor) -> Result<i64> {
        let sensors = fbnic.fw_sensors().inspect_err(|error| log(&fbnic, error))?;
        Ok(i64::from(match sensor {
            Sensor::Temperature => sensors.millidegrees,
            Sensor::Voltage => sensors.millivolts,
        }))
    }
}

/// Logs why there is no value. Any user may read sensors as often as they like, so not each time.
fn log(fbnic: &Fbnic, error: &CallError) {
    let (what, error) = match error {
        CallError::Killed => return,
        CallError::Unsent(error) => ("cannot ask the firmware", *error),
        CallError::TimedOut => ("no answer of the firmware", ETIMEDOUT),
        CallError::Answer(error) => ("the firmware did not read them", *error),
    };
    if net::ratelimit() {
        dev_err!(fbnic.dev(), "sensors: {}: {:?}\n", what, error);
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
