/* Stands in for NVIDIA's management library (libnvidia-ml.so.1), which only a machine with the driver has: as much of it
 * as `ocr` asks for. What it tells is fixed when it is compiled:
 *
 *   -DDEVICES=N        GPUs
 *   -DINIT=CODE        what nvmlInit answers (9: the driver is not loaded)
 *   -DLOST=N           this one has fallen off the bus
 *   -DMIG=N            each is split, and this process was given N parts of it
 *   -DCUDA=13000       the newest CUDA of the driver
 *   -DMAJOR=8 -DMINOR=9   the GPUs' compute capability
 *
 * GPU i has 16 GiB, of which i + 8 GiB are free; a part has 4 GiB, of which 3 are free. */
#include <stdio.h>
#include <string.h>

#ifndef DEVICES
#define DEVICES 1
#endif
#ifndef INIT
#define INIT 0
#endif
#ifndef LOST
#define LOST -1
#endif
#ifndef MIG
#define MIG 0
#endif
#ifndef CUDA
#define CUDA 13000
#endif
#ifndef MAJOR
#define MAJOR 8
#endif
#ifndef MINOR
#define MINOR 9
#endif

/* Of nvml.h. */
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };
#define GIB (1ull << 30)

typedef struct {
    int index;
    int part; /* -1: all of it */
} device;
typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} memory;

static device whole[DEVICES + 1], parts[DEVICES + 1][8];

int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *text, unsigned int length) {
    snprintf(text, length, "580.65.06");
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = CUDA;
    return SUCCESS;
}
int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = DEVICES;
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device **handle) {
    if (index >= DEVICES) return INVALID_ARGUMENT;
    if ((int)index == LOST) return GPU_IS_LOST;
    whole[index] = (device){(int)index, -1};
    *handle = &whole[index];
    return SUCCESS;
}
int nvmlDeviceGetMigMode(device *handle, unsigned int *current, unsigned int *pending) {
    (void)handle;
#ifdef NO_MIG
    return NOT_SUPPORTED;
#endif
    *current = *pending = MIG > 0;
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(device *handle, unsigned int *count) {
    (void)handle;
    *count = 7;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(device *handle, unsigned int place, device **part) {
    /* Parts need not be at the first places. */
    if (place < 1 || place > (MIG > 9 ? 0 : MIG)) return NOT_FOUND;
    parts[handle->index][place] = (device){handle->index, (int)place};
    *part = &parts[handle->index][place];
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(device *handle, memory *info) {
    unsigned long long total = handle->part < 0 ? 16 : 4, free = handle->part < 0 ? 8 + handle->index : 3;
    info->total = total * GIB;
    info->reserved = 0;
    info->free = free * GIB;
    info->used = info->total - info->free;
    return SUCCESS;
}
int nvmlDeviceGetName(device *handle, char *text, unsigned int length) {
    snprintf(text, length, handle->part < 0 ? "NVIDIA Stand-in" : "NVIDIA Stand-in MIG 1g.4gb");
    return SUCCESS;
}
int nvmlDeviceGetUUID(device *handle, char *text, unsigned int length) {
    snprintf(text, length, "%s-%d-%d", handle->part < 0 ? "GPU" : "MIG", handle->index, handle->part);
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(device *handle, int *major, int *minor) {
    if (handle->part >= 0) return INVALID_ARGUMENT;
    *major = MAJOR;
    *minor = MINOR;
    return SUCCESS;
}
