// Streams and events.

#include "tests/sim_cuda/sim_runtime.h"

using namespace kvferry::sim_cuda;  // NOLINT(google-build-using-namespace)

namespace {

Event* usable_event(cudaEvent_t handle, const char* call, cudaError_t* error) {
  Event* event = Runtime::get().find_event(handle);
  if (event == nullptr) {
    *error = refused(cudaErrorInvalidResourceHandle,
                     std::string(call) + " with an event that does not exist (any more)");
    return nullptr;
  }
  *error = returned(Runtime::get().fault(event->device));
  return *error == cudaSuccess ? event : nullptr;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  const int device = thread_state().device;
  if (const cudaError_t fault = Runtime::get().fault(device); fault != cudaSuccess) {
    return returned(fault);
  }
  if (flags != cudaStreamNonBlocking) {
    return refused(cudaErrorInvalidValue,
                   "a stream that waits for the legacy default stream; give cudaStreamNonBlocking");
  }
  *stream = Runtime::get().add_stream(device);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (Runtime::get().remove_stream(stream)) return cudaSuccess;
  return refused(cudaErrorInvalidResourceHandle,
                 "cudaStreamDestroy of no stream, or for the second time");
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaStreamSynchronize", &error);
  if (!stream) return error;
  stream->wait();
  return returned(Runtime::get().fault(stream->device()));
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaStreamQuery", &error);
  if (!stream) return error;
  return stream->is_idle() ? returned(Runtime::get().fault(stream->device())) : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaStreamWaitEvent", &error);
  if (!stream) return error;
  const Event* event = usable_event(event_handle, "cudaStreamWaitEvent", &error);
  if (event == nullptr) return error;
  const EventRecord* record = event->latest.load();
  if (record == nullptr) return cudaSuccess;  // never recorded: nothing to wait for
  stream->enqueue("wait for an event", {}, [record] { record->reached.wait_for(1); });
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  cudaError_t error;
  const auto stream = usable_stream(handle, "cudaLaunchHostFunc", &error);
  if (!stream) return error;
  stream->enqueue("host function", {}, [function, data] {
    thread_state().runs_host_function = true;
    function(data);
    thread_state().runs_host_function = false;
  });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const int device = thread_state().device;
  if (const cudaError_t fault = Runtime::get().fault(device); fault != cudaSuccess) {
    return returned(fault);
  }
  *event = Runtime::get().add_event(device, (flags & cudaEventDisableTiming) == 0);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (Runtime::get().remove_event(event)) return cudaSuccess;
  return refused(cudaErrorInvalidResourceHandle,
                 "cudaEventDestroy of no event, or for the second time");
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  cudaError_t error;
  const auto stream = usable_stream(stream_handle, "cudaEventRecord", &error);
  if (!stream) return error;
  Event* event = usable_event(handle, "cudaEventRecord", &error);
  if (event == nullptr) return error;
  if (event->device != stream->device()) {
    return refused(cudaErrorInvalidResourceHandle,
                   "cudaEventRecord of one device's event on another device's stream");
  }
  EventRecord* record = Runtime::get().add_record();
  event->latest = record;
  stream->enqueue("record of an event", {}, [record] {
    record->at = std::chrono::steady_clock::now();
    record->reached.set(1);
  });
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  cudaError_t error;
  const Event* event = usable_event(handle, "cudaEventQuery", &error);
  if (event == nullptr) return error;
  const EventRecord* record = event->latest.load();
  if (record != nullptr && !record->reached.has_reached(1)) return cudaErrorNotReady;
  return returned(Runtime::get().fault(event->device));
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  cudaError_t error;
  const Event* event = usable_event(handle, "cudaEventSynchronize", &error);
  if (event == nullptr) return error;
  const EventRecord* record = event->latest.load();
  if (record != nullptr) record->reached.wait_for(1);
  return returned(Runtime::get().fault(event->device));
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin_handle, cudaEvent_t end_handle) {
  cudaError_t error;
  const Event* begin = usable_event(begin_handle, "cudaEventElapsedTime", &error);
  if (begin == nullptr) return error;
  const Event* end = usable_event(end_handle, "cudaEventElapsedTime", &error);
  if (end == nullptr) return error;
  const EventRecord* first = begin->latest.load();
  const EventRecord* last = end->latest.load();
  if (!begin->has_time || !end->has_time || first == nullptr || last == nullptr) {
    return returned(cudaErrorInvalidResourceHandle);
  }
  if (!first->reached.has_reached(1) || !last->reached.has_reached(1)) return cudaErrorNotReady;
  *ms = std::chrono::duration<float, std::milli>(last->at - first->at).count();
  return cudaSuccess;
}

}  // extern "C"
