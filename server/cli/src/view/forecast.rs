//! What is predicted of a boot.

use std::path::Path;

use hallmark_policy::predict::Forecast;
use serde::Serialize;

use crate::{
    output::Show,
    table::{columns, facts},
};

#[derive(Debug, Serialize)]
pub(crate) struct ForecastView {
    name: String,
    file: String,
    #[serde(flatten)]
    forecast: Forecast,
}

impl ForecastView {
    pub(crate) fn new(name: &str, file: &Path, forecast: Forecast) -> Self {
        Self {
            name: name.to_owned(),
            file: file.display().to_string(),
            forecast,
        }
    }
}

impl Show for ForecastView {
    fn table(&self, _: i64) -> String {
        let secure_boot = match self.forecast.secure_boot {
            Some(true) => "on",
            Some(false) => "off",
            None => "not known: say --secure-boot, or give the firmware variables",
        };
        let head = facts(&[
            ("baseline", self.name.clone()),
            ("secure boot", secure_boot.to_owned()),
            ("stub", format!("systemd {}", self.forecast.stub)),
            ("image", self.forecast.inputs.uki_sha256.clone()),
        ]);
        let values = self.forecast.registers.iter();
        let mut values: Vec<_> = values
            .flat_map(|(register, values)| values.iter().map(|value| [register.clone(), value.clone()]))
            .collect();
        values.sort_by_key(|[register, _]| register.split(':').nth(1).and_then(|pcr| pcr.parse::<u8>().ok()));
        let left_out = self.forecast.left_out.iter();
        let left_out: Vec<_> = left_out
            .map(|left_out| [format!("sha256:{}", left_out.pcr), left_out.why.clone()])
            .collect();
        let mut text = format!("{head}\n{}", columns(["REGISTER", "VALUE"], &values));
        if !left_out.is_empty() {
            text.push_str(&format!("\n{}", columns(["LEFT OUT", "WHY"], &left_out)));
        }
        text
    }
}
