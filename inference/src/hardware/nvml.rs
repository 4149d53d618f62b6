//! NVIDIA GPUs, as the driver's own library tells of them (NVML). It is opened when it is asked and closed after: a
//! machine without it has no GPU, which is no fault.

use std::path::Path;

use nvml_wrapper::{Device, Nvml, error::NvmlError};

/// What the driver says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// The GPUs that CUDA can use in this process, in the order of their bus addresses, which is that of CUDA where
    /// `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`, as in our images and pods.
    pub devices: Vec<Gpu>,
    pub driver: Option<Driver>,
    /// Why there is no GPU, or what is wrong with one that is not in `devices`.
    pub problem: Option<String>,
}

/// The NVIDIA driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Such as `580.65.06`.
    pub version: String,
    /// The newest CUDA that it runs, as major and minor number.
    pub cuda: (u32, u32),
}

/// A GPU, or a part of one that MIG made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    /// Tells it from every other; of a part, that of the part.
    pub uuid: String,
    /// Bytes.
    pub memory: u64,
    /// Of these, what nobody uses.
    pub free: u64,
    /// Major and minor number.
    pub compute_capability: (u32, u32),
    /// Whether it is a part of a GPU.
    pub mig: bool,
}

/// Asks the library at `path`, which may be a bare name that the loader looks up.
#[must_use]
pub fn gpus(path: &Path) -> Gpus {
    let nvml = match Nvml::builder().lib_path(path.as_os_str()).init() {
        Ok(nvml) => nvml,
        Err(NvmlError::LibloadingError(error)) => return none(format!("no NVIDIA driver: {error}")),
        Err(error) => return none(format!("the NVIDIA driver does not answer: {error}")),
    };
    let driver = nvml.sys_driver_version().and_then(|version| {
        let cuda = u32::try_from(nvml.sys_cuda_driver_version()?).unwrap_or(0);
        // 12040 is 12.4.
        Ok(Driver { version, cuda: (cuda / 1000, cuda % 1000 / 10) })
    });
    let driver = match driver {
        Ok(driver) => driver,
        Err(error) => return none(format!("the NVIDIA driver does not say its version: {error}")),
    };
    let count = match nvml.device_count() {
        Ok(0) => return Gpus { driver: Some(driver), ..none("the NVIDIA driver sees no GPU".to_owned()) },
        Ok(count) => count,
        Err(error) => {
            return Gpus { driver: Some(driver), ..none(format!("the NVIDIA driver cannot count its GPUs: {error}")) };
        }
    };
    let (mut devices, mut problems) = (Vec::new(), Vec::new());
    for index in 0..count {
        match nvml.device_by_index(index).and_then(|device| look(&device)) {
            Ok(found) if found.is_empty() => problems.push(format!("GPU {index} is split by MIG and no part is given")),
            Ok(found) => devices.extend(found),
            Err(error) => problems.push(format!("GPU {index}: {error}")),
        }
    }
    let (devices, unseen) = as_cuda_counts(devices);
    if unseen > 0 {
        problems.push(format!("CUDA sees one part of a GPU and nothing beside it: {unseen} more are of no use here"));
    }
    Gpus { devices, driver: Some(driver), problem: (!problems.is_empty()).then(|| problems.join("; ")) }
}

/// The devices that a process that uses CUDA can see, and how many it cannot: where there is a part of a GPU, the first
/// part alone (MIG User Guide, CUDA device enumeration).
fn as_cuda_counts(devices: Vec<Gpu>) -> (Vec<Gpu>, usize) {
    let all = devices.len();
    let seen = match devices.iter().find(|gpu| gpu.mig) {
        Some(part) => vec![part.clone()],
        None => devices,
    };
    let unseen = all - seen.len();
    (seen, unseen)
}

fn none(problem: String) -> Gpus {
    Gpus { problem: Some(problem), ..Gpus::default() }
}

/// The device itself, or the parts of it that this process was given.
fn look(device: &Device<'_>) -> Result<Vec<Gpu>, NvmlError> {
    // GPUs that know no MIG answer with an error.
    let split = device.mig_mode().is_ok_and(|mode| mode.current == MIG_ENABLED);
    if !split {
        return Ok(vec![describe(device, device, false)?]);
    }
    let places = device.mig_device_count()?;
    let parts = (0..places).filter_map(|place| device.mig_device_by_index(place).ok());
    parts.map(|part| describe(&part, device, true)).collect()
}

/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ENABLED: u32 = 1;

/// `whole` is the GPU that `device` is, or is a part of: only that has a compute capability.
fn describe(device: &Device<'_>, whole: &Device<'_>, mig: bool) -> Result<Gpu, NvmlError> {
    let memory = device.memory_info()?;
    let capability = whole.cuda_compute_capability()?;
    let number = |part: i32| u32::try_from(part).unwrap_or(0);
    Ok(Gpu {
        name: device.name()?,
        uuid: device.uuid()?,
        memory: memory.total,
        free: memory.free,
        compute_capability: (number(capability.major), number(capability.minor)),
        mig,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_parts_of_gpus_cuda_sees_the_first_and_nothing_else() {
        let gpu = |name: &str, mig| Gpu { name: name.to_owned(), mig, ..Gpu::default() };
        let seen = |devices: &[Gpu]| {
            let (seen, unseen) = as_cuda_counts(devices.to_vec());
            (seen.into_iter().map(|gpu| gpu.name).collect::<Vec<_>>().join(" "), unseen)
        };
        let (whole, other, part, next) =
            (gpu("whole", false), gpu("other", false), gpu("part", true), gpu("next", true));
        assert_eq!(seen(&[]), (String::new(), 0));
        assert_eq!(seen(&[whole.clone(), other.clone()]), ("whole other".to_owned(), 0));
        assert_eq!(seen(std::slice::from_ref(&part)), ("part".to_owned(), 0));
        assert_eq!(seen(&[whole, part, next, other]), ("part".to_owned(), 3));
    }

    #[test]
    fn without_the_library_there_is_no_gpu_and_the_reason_names_it() {
        let gpus = gpus(Path::new("/nowhere/libnvidia-ml.so.1"));
        assert!(gpus.devices.is_empty() && gpus.driver.is_none());
        let problem = gpus.problem.unwrap();
        assert!(problem.starts_with("no NVIDIA driver: /nowhere/libnvidia-ml.so.1"), "{problem}");
    }

    #[test]
    fn a_library_of_something_else_is_said_to_be_no_driver() {
        let libc = std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .find_map(|line| line.split_whitespace().last().filter(|path| path.contains("/libc.")).map(str::to_owned))
            .unwrap();
        assert!(gpus(Path::new(&libc)).problem.unwrap().contains("nvmlInit"));
    }
}
