//! A vector with holes: keys that are small in the lower half and never given out twice.

#[derive(Debug)]
struct Entry<T> {
    /// How many values have been in this place; the upper half of the key.
    generation: u32,
    value: Option<T>,
}

/// Values by key; the place of a removed one is the next to be used.
///
/// Keys are not: who has an old one, because news of its value are still on their way, must not
/// meet the value that came after it.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> u64 {
        let free = self.free.pop();
        if let Some((index, entry)) =
            free.and_then(|index| Some((index, self.entries.get_mut(index as usize)?)))
        {
            entry.value = Some(value);
            return u64::from(entry.generation) << 32 | u64::from(index);
        }
        self.entries.push(Entry { generation: 0, value: Some(value) });
        (self.entries.len() - 1) as u64
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let entry = self.entries.get(key as u32 as usize)?;
        entry.value.as_ref().filter(|_| u64::from(entry.generation) == key >> 32)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let entry = self.entries.get_mut(key as u32 as usize)?;
        entry.value.as_mut().filter(|_| u64::from(entry.generation) == key >> 32)
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        self.get(key)?;
        let index = key as u32;
        let entry = self.entries.get_mut(index as usize)?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
        entry.value.take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// The keys of those that `wanted` says.
    pub(crate) fn keys(&self, wanted: impl Fn(&T) -> bool) -> Vec<u64> {
        let found = |(index, entry): (usize, &Entry<T>)| {
            let wanted = entry.value.as_ref().is_some_and(&wanted);
            wanted.then_some(u64::from(entry.generation) << 32 | index as u64)
        };
        self.entries.iter().enumerate().filter_map(found).collect()
    }

    /// The key of the value that is in this place, the lower half of its key.
    pub(crate) fn key_at(&self, index: u32) -> Option<u64> {
        let entry = self.entries.get(index as usize)?;
        entry.value.as_ref()?;
        Some(u64::from(entry.generation) << 32 | u64::from(index))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_a_key_is_not() {
        let mut slab = Slab::default();
        let (old, other) = (slab.insert("old"), slab.insert("other"));
        assert_eq!(slab.remove(old), Some("old"));
        assert_eq!(slab.remove(old), None);
        let new = slab.insert("new");
        assert_eq!(
            (slab.get(old), slab.get(new), slab.get(other)),
            (None, Some(&"new"), Some(&"other"))
        );
        assert!(slab.get_mut(old).is_none());
        assert_eq!(slab.remove(old), None);
        assert_eq!((slab.len(), slab.entries.len()), (2, 2));
        assert_eq!(slab.iter().copied().collect::<Vec<_>>(), ["new", "other"]);
    }
}
