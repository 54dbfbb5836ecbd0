//! The closed list of parameters and units: what a number can mean in this house.
//!
//! A [`Parameter`] has one canonical unit (UCUM), and the MDC (ISO/IEEE 11073-10101) and LOINC codes it is known by. Codes
//! as *senders* write them live in `models/dialects`; this file holds only what is the same for everyone.

use serde::{Deserialize, Serialize};

/// A canonical unit, named by its UCUM code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// `/min`: beats, breaths, events a minute.
    PerMin,
    /// `%`.
    Percent,
    /// `mm[Hg]`.
    MmHg,
    /// `cm[H2O]`: airway pressures only.
    CmH2O,
    /// `Cel`: degrees Celsius.
    Cel,
    /// `K`: a difference of two temperatures.
    Kelvin,
    /// `ms`.
    Ms,
    /// `mm`: ST deviation.
    Mm,
    /// `mV`: ST deviation.
    MilliVolt,
    /// `L/min`.
    LitrePerMin,
    /// `L/(min.m2)`.
    LitrePerMinM2,
    /// `cm`.
    Cm,
    /// `kg`.
    Kg,
    /// `1`: a ratio.
    One,
    /// `mL`: the volume of one breath.
    MilliLitre,
    /// `dyn.s/cm5`: resistance of the vessels; 1 mmHg·min/L is 80 of them.
    DynSPerCm5,
    /// `m2`: body surface.
    M2,
}

impl Unit {
    /// The UCUM code.
    pub const fn ucum(self) -> &'static str {
        match self {
            Unit::PerMin => "/min",
            Unit::Percent => "%",
            Unit::MmHg => "mm[Hg]",
            Unit::CmH2O => "cm[H2O]",
            Unit::Cel => "Cel",
            Unit::Kelvin => "K",
            Unit::Ms => "ms",
            Unit::Mm => "mm",
            Unit::MilliVolt => "mV",
            Unit::LitrePerMin => "L/min",
            Unit::LitrePerMinM2 => "L/(min.m2)",
            Unit::Cm => "cm",
            Unit::Kg => "kg",
            Unit::One => "1",
            Unit::MilliLitre => "mL",
            Unit::DynSPerCm5 => "dyn.s/cm5",
            Unit::M2 => "m2",
        }
    }
}

/// How a parameter is measured over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nature {
    /// Sent again and again by a sensor that is on the patient.
    Continuous,
    /// Measured now and then; carries its own time (a cuff pressure, a cardiac output).
    Episodic,
    /// Set by a person.
    Setting,
    /// Computed from others.
    Derived,
}

/// The sensor that produces a parameter: parameters of one sensor are one witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Sensor {
    Ecg,
    Oximeter,
    Impedance,
    Capnograph,
    Cuff,
    ArterialLine,
    PulmonaryLine,
    VenousLine,
    Intracranial,
    Thermometer,
    Ventilator,
    Other,
    /// Gas tension through warmed skin.
    Transcutaneous,
}

macro_rules! parameters {
    ($($variant:ident $key:literal $unit:ident $nature:ident $sensor:ident published=$published:literal mdc=$mdc:expr; loinc=$loinc:expr;)*) => {
        /// One measured quantity. The order is for ever: positions are used in bit sets and snapshots.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Parameter { $(#[serde(rename = $key)] $variant,)* }

        impl Parameter {
            /// Every parameter, in order.
            pub const ALL: &'static [Parameter] = &[$(Parameter::$variant,)*];
            /// How many there are (at most 64: [`ParamSet`] is one word).
            pub const COUNT: usize = Self::ALL.len();
            /// The key used in documents and tables (`hr`, `nibp_sys`).
            pub const fn key(self) -> &'static str { match self { $(Parameter::$variant => $key,)* } }
            /// The canonical unit.
            pub const fn unit(self) -> Unit { match self { $(Parameter::$variant => Unit::$unit,)* } }
            /// Continuous, episodic, set or derived.
            pub const fn nature(self) -> Nature { match self { $(Parameter::$variant => Nature::$nature,)* } }
            /// The sensor that is the witness.
            pub const fn sensor(self) -> Sensor { match self { $(Parameter::$variant => Sensor::$sensor,)* } }
            /// Whether the outgoing contract publishes it.
            pub const fn published(self) -> bool { match self { $(Parameter::$variant => $published,)* } }
            /// MDC code and reference id by which it is published; the first of the codes that mean it.
            pub const fn mdc(self) -> Option<(u32, &'static str)> { match self { $(Parameter::$variant => $mdc,)* } }
            /// LOINC code, where one is certain.
            pub const fn loinc(self) -> Option<&'static str> { match self { $(Parameter::$variant => $loinc,)* } }
            /// The parameter of a key.
            pub fn from_key(key: &str) -> Option<Parameter> { match key { $($key => Some(Parameter::$variant),)* _ => None } }
        }
    };
}

parameters! {
    Hr "hr" PerMin Continuous Ecg published=true mdc=Some((147842, "MDC_ECG_HEART_RATE")); loinc=Some("8867-4");
    Pr "pr" PerMin Continuous Oximeter published=true mdc=Some((149530, "MDC_PULS_OXIM_PULS_RATE")); loinc=None;
    Rr "rr" PerMin Continuous Impedance published=true mdc=Some((151562, "MDC_RESP_RATE")); loinc=Some("9279-1");
    Awrr "awrr" PerMin Continuous Capnograph published=true mdc=Some((151594, "MDC_CO2_RESP_RATE")); loinc=None;
    Spo2 "spo2" Percent Continuous Oximeter published=true mdc=Some((150456, "MDC_PULS_OXIM_SAT_O2")); loinc=Some("59408-5");
    Etco2 "etco2" MmHg Continuous Capnograph published=true mdc=Some((151708, "MDC_CONC_AWAY_CO2_ET")); loinc=Some("19891-1");
    Temp "temp" Cel Continuous Thermometer published=true mdc=Some((150344, "MDC_TEMP")); loinc=Some("8310-5");
    TempSkin "temp_skin" Cel Continuous Thermometer published=true mdc=Some((150388, "MDC_TEMP_SKIN")); loinc=None;
    AbpSys "abp_sys" MmHg Continuous ArterialLine published=true mdc=Some((150037, "MDC_PRESS_BLD_ART_ABP_SYS")); loinc=None;
    AbpDia "abp_dia" MmHg Continuous ArterialLine published=true mdc=Some((150038, "MDC_PRESS_BLD_ART_ABP_DIA")); loinc=None;
    AbpMean "abp_mean" MmHg Continuous ArterialLine published=true mdc=Some((150039, "MDC_PRESS_BLD_ART_ABP_MEAN")); loinc=None;
    NibpSys "nibp_sys" MmHg Episodic Cuff published=true mdc=Some((150021, "MDC_PRESS_BLD_NONINV_SYS")); loinc=None;
    NibpDia "nibp_dia" MmHg Episodic Cuff published=true mdc=Some((150022, "MDC_PRESS_BLD_NONINV_DIA")); loinc=None;
    NibpMean "nibp_mean" MmHg Episodic Cuff published=true mdc=Some((150023, "MDC_PRESS_BLD_NONINV_MEAN")); loinc=None;
    PapSys "pap_sys" MmHg Continuous PulmonaryLine published=true mdc=Some((150045, "MDC_PRESS_BLD_ART_PULM_SYS")); loinc=None;
    PapDia "pap_dia" MmHg Continuous PulmonaryLine published=true mdc=Some((150046, "MDC_PRESS_BLD_ART_PULM_DIA")); loinc=None;
    PapMean "pap_mean" MmHg Continuous PulmonaryLine published=true mdc=Some((150047, "MDC_PRESS_BLD_ART_PULM_MEAN")); loinc=None;
    Cvp "cvp" MmHg Continuous VenousLine published=true mdc=Some((150087, "MDC_PRESS_BLD_VEN_CENT_MEAN")); loinc=None;
    Icp "icp" MmHg Continuous Intracranial published=true mdc=Some((153611, "MDC_PRESS_INTRA_CRAN_MEAN")); loinc=None;
    PrAbp "pr_abp" PerMin Continuous ArterialLine published=false mdc=Some((149522, "MDC_BLD_PULS_RATE_INV")); loinc=None;
    PrNibp "pr_nibp" PerMin Episodic Cuff published=false mdc=Some((149546, "MDC_PULS_RATE_NON_INV")); loinc=None;
    Spo2Pre "spo2_pre" Percent Continuous Oximeter published=false mdc=Some((160296, "MDC_PULS_OXIM_SAT_O2_PRE_DUCTAL")); loinc=None;
    Spo2Post "spo2_post" Percent Continuous Oximeter published=false mdc=Some((160300, "MDC_PULS_OXIM_SAT_O2_POST_DUCTAL")); loinc=None;
    PerfIndex "perf_index" Percent Continuous Oximeter published=false mdc=Some((150488, "MDC_BLD_PERF_INDEX")); loinc=None;
    RrPleth "rr_pleth" PerMin Continuous Oximeter published=false mdc=Some((151658, "MDC_PULS_OXIM_PLETH_RESP_RATE")); loinc=None;
    RrVent "rr_vent" PerMin Continuous Ventilator published=false mdc=Some((151586, "MDC_VENT_RESP_RATE")); loinc=Some("33438-3");
    Imco2 "imco2" MmHg Continuous Capnograph published=false mdc=Some((151738, "MDC_AWAY_CO2_INSP_MIN")); loinc=None;
    BpSys "bp_sys" MmHg Episodic Other published=false mdc=Some((150017, "MDC_PRESS_BLD_SYS")); loinc=Some("8480-6");
    BpDia "bp_dia" MmHg Episodic Other published=false mdc=Some((150018, "MDC_PRESS_BLD_DIA")); loinc=Some("8462-4");
    BpMean "bp_mean" MmHg Episodic Other published=false mdc=Some((150019, "MDC_PRESS_BLD_MEAN")); loinc=Some("8478-0");
    Pawp "pawp" MmHg Episodic PulmonaryLine published=false mdc=Some((150052, "MDC_PRESS_BLD_ART_PULM_WEDGE")); loinc=None;
    POther "p_other" MmHg Continuous Other published=false mdc=None; loinc=None;
    TempCore "temp_core" Cel Continuous Thermometer published=false mdc=Some((150368, "MDC_TEMP_CORE")); loinc=None;
    TempEso "temp_eso" Cel Continuous Thermometer published=false mdc=Some((150372, "MDC_TEMP_ESOPH")); loinc=None;
    TempRect "temp_rect" Cel Continuous Thermometer published=false mdc=Some((188420, "MDC_TEMP_RECT")); loinc=None;
    TempOral "temp_oral" Cel Continuous Thermometer published=false mdc=Some((188424, "MDC_TEMP_ORAL")); loinc=None;
    TempAxil "temp_axil" Cel Continuous Thermometer published=false mdc=Some((188496, "MDC_TEMP_AXILLA")); loinc=None;
    TempNaso "temp_naso" Cel Continuous Thermometer published=false mdc=Some((150380, "MDC_TEMP_NASOPH")); loinc=None;
    TempBlood "temp_blood" Cel Continuous Thermometer published=false mdc=Some((188436, "MDC_TEMP_BLD")); loinc=None;
    TempDelta "temp_delta" Kelvin Derived Thermometer published=false mdc=None; loinc=None;
    StI "st_i" Mm Continuous Ecg published=false mdc=Some((131841, "MDC_ECG_AMPL_ST_I")); loinc=None;
    StIi "st_ii" Mm Continuous Ecg published=false mdc=Some((131842, "MDC_ECG_AMPL_ST_II")); loinc=None;
    StIii "st_iii" Mm Continuous Ecg published=false mdc=Some((131901, "MDC_ECG_AMPL_ST_III")); loinc=None;
    StAvr "st_avr" Mm Continuous Ecg published=false mdc=Some((131902, "MDC_ECG_AMPL_ST_AVR")); loinc=None;
    StAvl "st_avl" Mm Continuous Ecg published=false mdc=Some((131903, "MDC_ECG_AMPL_ST_AVL")); loinc=None;
    StAvf "st_avf" Mm Continuous Ecg published=false mdc=Some((131904, "MDC_ECG_AMPL_ST_AVF")); loinc=None;
    StV "st_v" Mm Continuous Ecg published=false mdc=None; loinc=None;
    Pvc "pvc" PerMin Continuous Ecg published=false mdc=Some((148065, "MDC_ECG_V_P_C_CNT")); loinc=None;
    Qt "qt" Ms Continuous Ecg published=false mdc=Some((147232, "MDC_ECG_TIME_PD_QT_GL")); loinc=None;
    Qtc "qtc" Ms Continuous Ecg published=false mdc=Some((147236, "MDC_ECG_TIME_PD_QTc")); loinc=None;
    Co "co" LitrePerMin Episodic Other published=false mdc=Some((150276, "MDC_OUTPUT_CARD")); loinc=None;
    Ci "ci" LitrePerMinM2 Derived Other published=false mdc=Some((149772, "MDC_OUTPUT_CARD_INDEX")); loinc=None;
    Fio2 "fio2" Percent Setting Ventilator published=false mdc=None; loinc=None;
    Peep "peep" CmH2O Setting Ventilator published=false mdc=Some((151976, "MDC_PRESS_AWAY_END_EXP_POS")); loinc=Some("76248-4");
    Height "height" Cm Setting Other published=false mdc=None; loinc=None;
    Weight "weight" Kg Setting Other published=false mdc=None; loinc=None;
    Svr "svr" DynSPerCm5 Derived Other published=false mdc=Some((150312, "MDC_RES_VASC_SYS")); loinc=None;
    Cpp "cpp" MmHg Derived Other published=false mdc=Some((153604, "MDC_PRESS_CEREB_PERF")); loinc=None;
    Mv "mv" LitrePerMin Continuous Ventilator published=false mdc=Some((151880, "MDC_VOL_MINUTE_AWAY")); loinc=None;
    Tv "tv" MilliLitre Continuous Ventilator published=false mdc=Some((151868, "MDC_VOL_AWAY_TIDAL")); loinc=None;
    Tcco2 "tcco2" MmHg Continuous Transcutaneous published=false mdc=Some((151756, "MDC_CO2_TCUT")); loinc=None;
    Bsa "bsa" M2 Setting Other published=false mdc=Some((188744, "MDC_AREA_BODY_SURF_ACTUAL")); loinc=None;
}

const _: () = assert!(Parameter::COUNT <= 64, "ParamSet is one word");

/// A set of parameters in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ParamSet(u64);

impl ParamSet {
    /// The empty set.
    pub const EMPTY: ParamSet = ParamSet(0);
    /// The set of one.
    pub const fn of(parameter: Parameter) -> ParamSet {
        ParamSet(1 << parameter as u8)
    }
    /// The set of several.
    pub fn from_slice(parameters: &[Parameter]) -> ParamSet {
        parameters.iter().fold(ParamSet::EMPTY, |set, p| set.with(*p))
    }
    #[must_use]
    pub const fn with(self, parameter: Parameter) -> ParamSet {
        ParamSet(self.0 | 1 << parameter as u8)
    }
    #[must_use]
    pub const fn union(self, other: ParamSet) -> ParamSet {
        ParamSet(self.0 | other.0)
    }
    #[must_use]
    pub const fn minus(self, other: ParamSet) -> ParamSet {
        ParamSet(self.0 & !other.0)
    }
    pub const fn contains(self, parameter: Parameter) -> bool {
        self.0 & (1 << parameter as u8) != 0
    }
    pub const fn intersects(self, other: ParamSet) -> bool {
        self.0 & other.0 != 0
    }
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    /// The members, in the order of the list.
    pub fn iter(self) -> impl Iterator<Item = Parameter> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let position = left.trailing_zeros() as usize;
            left &= left - 1;
            Some(Parameter::ALL[position])
        })
    }
    /// How many different sensors stand behind the members.
    pub fn sensors(self) -> usize {
        let mut seen = 0u32;
        for parameter in self.iter() {
            seen |= 1 << parameter.sensor() as u8;
        }
        seen.count_ones() as usize
    }
}

impl FromIterator<Parameter> for ParamSet {
    fn from_iter<T: IntoIterator<Item = Parameter>>(iter: T) -> Self {
        iter.into_iter().fold(ParamSet::EMPTY, ParamSet::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_back_to_its_parameter() {
        for parameter in Parameter::ALL {
            assert_eq!(Parameter::from_key(parameter.key()), Some(*parameter));
        }
    }

    #[test]
    fn a_set_gives_back_its_members_in_order() {
        let set = ParamSet::from_slice(&[Parameter::Spo2, Parameter::Hr, Parameter::Weight]);
        let keys: Vec<_> = set.iter().map(Parameter::key).collect();
        assert_eq!(keys, ["hr", "spo2", "weight"]);
        assert_eq!(set.sensors(), 3);
    }
}
