//! Reference intervals by parameter and age band (`models/population`), typed and validated.

/// The limits and priors of the population.
#[derive(Debug, Clone, Default)]
pub struct Population {}
