#pragma once

// What broken_plugin.so exports besides its classes, for tests to move it. The `fault` setting of
// an instance says in which way it is broken; fault names are in broken_plugin.cc.
extern "C" {

/// Lets calls that hang return, now and from now on; false: no more.
void broken_release(bool is_released);
/// Calls that hang right now.
int broken_num_hanging();
/// Writes into the memory of every item that was kept, then answers it with KVFERRY_OK.
void broken_answer_kept();
/// Items that were kept so far.
int broken_num_kept();
}
