/* The NVIDIA driver of a machine that tests describe by variables of the environment:
 * STUB_CUDA       the CUDA version it is for, as 12040 (the default)
 * STUB_INIT       what cuInit answers, 0 by default; 100 is CUDA_ERROR_NO_DEVICE
 * STUB_DEVICES    how many GPUs it shows, 1 by default
 * STUB_CAPABILITY their compute capability times ten, 90 by default
 * The functions that NNabla's library is linked to, but nothing here calls, answer NO_DEVICE. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int set(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text && *text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) { return set("STUB_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = set("STUB_CUDA", 12040); return 0; }
int cuDeviceGetCount(int *count) { *count = set("STUB_DEVICES", 1); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
  strncpy(name, "Stub GPU", length);
  return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)8 << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  int capability = set("STUB_CAPABILITY", 90);
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0;
  return 0;
}
int cuGetErrorName(int error, const char **name) {
  *name = error == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_OF_A_STUB";
  return 0;
}
int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

#define NO_DEVICE(name) int name(void) { return 100; }
NO_DEVICE(cuCtxSetCurrent)
NO_DEVICE(cuDevicePrimaryCtxRetain)
NO_DEVICE(cuMemAddressFree)
NO_DEVICE(cuMemAddressReserve)
NO_DEVICE(cuMemCreate)
NO_DEVICE(cuMemGetAllocationGranularity)
NO_DEVICE(cuMemMap)
NO_DEVICE(cuMemRelease)
NO_DEVICE(cuMemSetAccess)
NO_DEVICE(cuMemUnmap)
