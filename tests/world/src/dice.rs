//! Dice that fall the same for the same seed.

/// See the module.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Another seed gives other falls.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `end`, without it. Source: xorshift64*, Vigna 2016.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}
