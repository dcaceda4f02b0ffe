//! RSA keys that Infineon's library made until 2017: their factors can be found (CVE-2017-15361, "ROCA").
//!
//! Both primes of such a key are `k·M + (65537^a mod M)`, with M a product of the first primes. So modulo each of these
//! small primes the modulus is a power of 65537. An ordinary modulus is so modulo all of them once in about 2^28.

/// The primes up to 167, all of which divide M for keys of every length, and modulo which 65537 does not generate every
/// residue: the others tell nothing.
const PRIMES: [u16; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus, big-endian, has the mark of that library.
#[must_use]
pub fn is_roca(modulus: &[u8]) -> bool {
    !modulus.is_empty() && PRIMES.iter().all(|prime| is_power(remainder(modulus, *prime), *prime))
}

fn remainder(number: &[u8], prime: u16) -> u16 {
    let prime = u32::from(prime);
    let rest = number
        .iter()
        .fold(0_u32, |rest, byte| ((rest << 8) | u32::from(*byte)) % prime);
    u16::try_from(rest).unwrap_or_default()
}

/// Whether a residue is a power of 65537.
fn is_power(residue: u16, prime: u16) -> bool {
    let (prime, residue) = (u32::from(prime), u32::from(residue));
    let generator = 65_537 % prime;
    let mut power = 1;
    loop {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primes_are_those_that_tell_something() {
        let is_prime = |number: u16| (2..number).all(|divisor| !number.is_multiple_of(divisor));
        let telling = (3..=167)
            .filter(|number| is_prime(*number))
            .filter(|prime| (1..*prime).any(|residue| !is_power(residue, *prime)));
        assert!(telling.eq(PRIMES));
        let chance = PRIMES.iter().fold(1.0, |chance, prime| {
            let powers = (1..*prime).filter(|residue| is_power(*residue, *prime)).count();
            chance * f64::from(u16::try_from(powers).unwrap_or(u16::MAX)) / f64::from(prime - 1)
        });
        assert!(chance < 1e-8, "{chance}");
    }

    #[test]
    fn remainders_are_those_of_the_whole_number() {
        assert_eq!(
            remainder(&[0x01, 0x00, 0x01], 11),
            u16::try_from(65_537 % 11).unwrap_or_default()
        );
        assert_eq!(
            remainder(&[0xff; 8], 157),
            u16::try_from(u64::MAX % 157).unwrap_or_default()
        );
    }
}
