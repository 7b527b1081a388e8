//! stub
use super::*;
use crate::cpu::CpuNumber;
use crate::memory::OutOfFrames;
use super::flush::{Root,Roots};
use alloc::sync::Arc;
use core::ops::Range;
pub struct Access{pub read:bool,pub write:bool,pub execute:bool}
pub enum Fault{Resolved,Again,Spurious,Device,Protected,Nothing,OutOfMemory}
#[derive(Debug)] pub struct Ram;
impl Ram{pub fn new(_:u64)->Result<Arc<Self>,OutOfFrames>{todo!()}}
pub enum Content{Ram(Arc<Ram>),Rom(Arc<Ram>),Device}
pub struct Features{pub accessed_dirty:bool}
#[derive(Debug)] pub struct GuestSpace;
impl GuestSpace{
pub fn new(_:Arc<Coherence>,_:Features)->Result<Self,OutOfFrames>{todo!()}
pub fn set(&self,_:CpuNumber,_:Range<u64>,_:Content)->Result<(),OutOfFrames>{todo!()}
pub fn root(&self)->&Arc<Root>{todo!()}
pub fn roots(&self)->&Roots{todo!()}
pub fn fault(&self,_:CpuNumber,_:GuestPhysical,_:Access)->Fault{todo!()}
pub fn zap(&self,_:CpuNumber,_:Range<u64>){}
pub fn start_log(&self,_:CpuNumber)->Result<(),OutOfFrames>{todo!()}
pub fn fetch_log(&self,_:CpuNumber,_:u64,_:u32)->u64{todo!()}
pub fn stop_log(&self,_:CpuNumber){}
pub fn collapse(&self,_:CpuNumber,_:Range<u64>){}
pub fn age(&self,_:CpuNumber,_:GuestPhysical)->bool{todo!()}
pub fn populate(&self,_:CpuNumber,_:Range<u64>)->Result<(),OutOfFrames>{todo!()}
pub fn bytes(&self,_:CpuNumber)->u64{todo!()}
pub fn held_bytes(&self)->u64{todo!()}
pub fn backed_bytes(&self,_:CpuNumber)->u64{todo!()}
}
impl GuestMemory for GuestSpace{
fn read(&self,_:GuestPhysical,_:&mut [u8])->Result<(),Unbacked>{todo!()}
fn write(&self,_:GuestPhysical,_:&[u8])->Result<(),Unbacked>{todo!()}
fn compare_exchange(&self,_:GuestPhysical,_:u64,_:u64)->Result<bool,Unbacked>{todo!()}
}
